"""Intervals, p-values and rankings hold what they say, on simulated scores with fixed seeds."""

import pytest

from benchmarks.statistics import CHANGES, MEANS, calibrations, coverage, false_claims, false_positives, generator

SETS = 400  # a share of 0.05 then has a standard error of 0.011


@pytest.mark.parametrize("world", MEANS)
@pytest.mark.parametrize("videos", [5, 10, 30])
def test_intervals_hold_the_true_mean(world, videos):
    assert coverage(world, videos, SETS) >= 0.92


@pytest.mark.parametrize(
    ("world", "videos"),
    [(world, 10) for world in ("symmetric", "sparse", "heavy tails")]
    + [(world, 30) for world in CHANGES if world != "rare"]
    + [("lognormal", 100), ("rare", 100)],
)
def test_equal_scores_are_rarely_told_apart(world, videos):
    share, contradictions = false_positives(world, videos, SETS)
    assert share <= 0.08
    assert contradictions == 0


@pytest.mark.parametrize("entries", [2, 10])
def test_equal_entries_are_rarely_told_apart(entries):
    assert false_claims(entries, 30, 100) <= 0.1


@pytest.mark.parametrize(("strength", "wanted"), [(1.2, 0.8), (2.4, 0.9)])
def test_cuts_keep_their_precision_on_other_videos(strength, wanted):
    offered, reached = calibrations(strength, wanted, 50, 30)
    assert offered > 0.2
    assert reached >= 0.9


def test_cells_are_repeatable_and_independent_of_each_other():
    assert coverage("skewed", 10, 50, seed=3) == coverage("skewed", 10, 50, seed=3)
    drawn = [generator(*cell).random() for cell in ((0, "a", 5), (0, "a", 10), (0, "b", 5), (1, "a", 5), (0, "a", 5))]
    assert len(set(drawn)) == 4
    assert drawn[0] == drawn[4]
