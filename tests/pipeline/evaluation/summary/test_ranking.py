"""Which entries can be told apart, and how groups are named."""

import numpy as np

from pipeline.evaluation.summary.protocol_mean import VideoSums
from pipeline.evaluation.summary.ranking import pairwise_p, tied_groups


def board(rng: np.random.Generator, videos: int, gains: list[float]) -> VideoSums:
    """Entries that differ by `gains` from a common base, with noise of their own."""
    base = rng.beta(4, 2, videos)
    noise = 0.05 * rng.standard_normal((videos, len(gains)))
    return VideoSums.of(base[:, None] + gains + noise, np.ones((videos, len(gains))), np.arange(videos))


def test_the_best_of_many_equal_entries_is_not_called_better():
    """At most one board in twenty may show a difference; without a correction for the best of 20, one in four does."""
    rng = np.random.default_rng(0)
    shown = [pairwise_p(board(rng, 30, [0.0] * 20)).min() < 0.05 for _ in range(100)]
    assert np.mean(shown) <= 0.06


def test_clear_differences_are_shown():
    p = pairwise_p(board(np.random.default_rng(1), 50, [0.3, 0.3, 0.1, 0.1, 0.1]))
    assert (p == p.T).all()
    assert p[:2, 2:].max() < 0.001
    assert p[0, 1] > 0.05 < p[2:, 2:].min()
    assert tied_groups(p) == [["a"], ["a"], ["b"], ["b"], ["b"]]


def test_groups_are_runs_of_the_ranking_and_may_overlap():
    p = np.ones((4, 4))
    p[0, 2:] = p[2:, 0] = 0.01
    assert tied_groups(p) == [["a"], ["a", "b"], ["b"], ["b"]]
    assert tied_groups(np.ones((3, 3))) == [["a"]] * 3
    assert tied_groups(np.eye(30))[25:28] == [["z"], ["aa"], ["ab"]]
    assert tied_groups(pairwise_p(board(np.random.default_rng(2), 9, [0.0]))) == [["a"]]
