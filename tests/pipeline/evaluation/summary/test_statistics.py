"""Intervals and tests by video: against theory, against all permutations, and in time."""

import itertools
import time

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


def test_the_interval_holds_what_it_should_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(200):
        video = rng.standard_normal(30)
        values = (video[np.repeat(np.arange(30), 4)] + rng.standard_normal(120))[:, None]
        found = clustered_means(values, np.ones((120, 1)), np.repeat(np.arange(30), 4), resamples=1000)
        hits += found.low[0] < 0 < found.high[0]
    assert 0.88 <= hits / 200 <= 0.99


def test_one_video_has_no_interval():
    found = clustered_means(np.ones((3, 2)), np.ones((3, 2)), np.zeros(3))
    assert np.isnan([*found.low, *found.high]).all()
    assert found.value.tolist() == [1, 1]


def test_p_of_few_videos_is_that_of_all_sign_flips():
    sums = np.array([0.3, -0.1, 0.25, 0.4, 0.05, 0.2])
    totals = [abs(np.dot(signs, sums)) for signs in itertools.product((1, -1), repeat=6)]
    expected = np.mean(np.array(totals) >= abs(sums.sum()) - 1e-12)
    assert paired_difference(sums, np.arange(6)).p == expected


def test_p_is_uniform_under_no_difference():
    rng = np.random.default_rng(3)
    p = [paired_difference(rng.standard_normal(60), np.repeat(np.arange(20), 3), resamples=500).p for _ in range(200)]
    assert 0.01 <= np.mean(np.array(p) < 0.05) <= 0.11


def test_smallest_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(4)
    smallest = paired_difference(rng.standard_normal(100), np.arange(100)).smallest
    found = [
        paired_difference(smallest + rng.standard_normal(100), np.arange(100), resamples=500).p for _ in range(100)
    ]
    assert 0.65 <= np.mean(np.array(found) < 0.05) <= 0.92


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([]) == []


def test_the_same_data_give_the_same_numbers():
    values, videos = np.random.default_rng(5).random((50, 3)), np.arange(50) // 2
    one, two = (clustered_means(values, np.ones((50, 3)), videos) for _ in range(2))
    assert (one.low == two.low).all()
    assert (one.high == two.high).all()


def test_ten_thousand_resamples_of_two_thousand_pairs_in_time():
    values = np.random.default_rng(6).random((2000, 3))
    started = time.process_time()
    clustered_means(values, np.ones((2000, 3)), np.arange(2000))
    assert time.process_time() - started < 3  # 0.4 s on a free core; the bound is for busy ones
