"""Means and differences of pairs, by video."""

import numpy as np
import pytest

from pipeline.evaluation.summary.statistics import clustered_means, holm, paired_difference


def test_means_are_weighted_and_strata_weigh_the_same():
    values = np.array([[1.0], [0.0], [0.5]])
    weights = np.array([[1.0], [3.0], [0.0]])
    videos = np.array(["a", "b", "c"])
    assert clustered_means(values, weights, videos).value[0] == 0.25
    strata = np.array(["x", "x", "y"])
    assert clustered_means(values, np.ones((3, 1)), videos, strata).value[0] == 0.5
    assert np.isnan(clustered_means(values, np.zeros((3, 1)), videos).value[0])


def test_interval_of_independent_pairs_is_that_of_the_normal_approximation():
    rng = np.random.default_rng(0)
    values = rng.random((400, 1))
    found = clustered_means(values, np.ones((400, 1)), np.arange(400))
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low[0] == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high[0] == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_pairs_of_one_video_count_as_one():
    """Ten equal pairs in each of 40 videos tell no more than one of each."""
    values = np.random.default_rng(1).random((40, 1))
    one = clustered_means(values, np.ones((40, 1)), np.arange(40))
    ten = clustered_means(np.repeat(values, 10, axis=0), np.ones((400, 1)), np.repeat(np.arange(40), 10))
    assert (ten.low[0], ten.high[0]) == pytest.approx((one.low[0], one.high[0]))


def test_too_few_videos_have_no_interval_and_show_no_change():
    for videos in (1, 4):
        found = clustered_means(np.random.default_rng(1).random((8, 2)), np.ones((8, 2)), np.arange(8) % videos)
        assert np.isnan([*found.low, *found.high]).all()
        assert not np.isnan(found.value).any()
        difference = paired_difference(np.full(8, 0.5), np.arange(8) % videos)
        assert difference.p == 1
        assert np.isnan([difference.low, difference.high, difference.smallest]).all()


def test_every_stratum_needs_enough_videos():
    values, strata = np.random.default_rng(2).random((30, 1)), np.arange(30) < 4
    assert np.isnan(clustered_means(values, np.ones((30, 1)), np.arange(30), strata).low[0])
    assert not np.isnan(clustered_means(values, np.ones((30, 1)), np.arange(30), np.arange(30) < 5).low[0])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []


def test_the_same_data_give_the_same_numbers():
    values, videos = np.random.default_rng(5).random((50, 3)), np.arange(50) // 2
    one, two = (clustered_means(values, np.ones((50, 3)), videos) for _ in range(2))
    assert (one.low == two.low).all()
    assert (one.high == two.high).all()
