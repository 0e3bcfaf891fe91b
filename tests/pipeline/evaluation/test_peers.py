"""Scores equal those of the published evaluators, on random masks."""

import pytest

from benchmarks.peers import (
    EXPRESSION_METRICS,
    compare_all,
    compare_annotators,
    compare_expressions,
    compare_samples,
    golden_cases,
    sample_sets,
)


def check(compared):
    assert len(compared) > 100
    assert [one for one in compared if abs(one[1] - one[2]) > 1e-12] == []


@pytest.mark.parametrize("protocol", EXPRESSION_METRICS)
def test_expressions(tmp_path, protocol):
    check(list(compare_expressions(protocol, golden_cases("expression"), tmp_path)))


@pytest.mark.parametrize("protocol", ["a2d", "jhmdb"])
def test_samples_with_candidates(tmp_path, protocol):
    check(list(compare_samples(protocol, sample_sets()[:10], tmp_path)))


def test_several_annotators(tmp_path):
    check(list(compare_annotators(golden_cases("annotators"), tmp_path)))


@pytest.mark.slow
def test_every_evaluator(tmp_path):
    for _, compared in compare_all(tmp_path):
        check(compared)
