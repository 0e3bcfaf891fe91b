"""Intervals, p-values and power: they agree with each other, and hold in simulations."""

import numpy as np
import pytest

from pipeline.evaluation.summary.statistics import clustered_means, paired_difference


def changes(rng: np.random.Generator, videos: int, *, skewed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Differences of 1 to 20 pairs of each video, with the mean 0. skewed: a tenth of the videos is much worse."""
    video = np.repeat(np.arange(videos), rng.integers(1, 21, videos))
    if not skewed:
        return 0.03 * rng.standard_normal(videos)[video] + 0.1 * rng.standard_normal(len(video)), video
    mean = np.where(rng.random(videos) < 0.1, -0.27, 0.03) + 0.01 * rng.standard_normal(videos)
    return mean[video] + 0.02 * rng.standard_normal(len(video)), video


@pytest.mark.parametrize("skewed", [False, True])
def test_interval_and_p_never_contradict(skewed):
    rng = np.random.default_rng(0)
    for videos in (5, 6, 10, 30):
        for _ in range(50):
            found = paired_difference(*changes(rng, videos, skewed=skewed))
            assert (found.low > 0 or found.high < 0) == (found.p < 0.05)
            assert found.low <= found.value <= found.high


def test_equal_videos_leave_what_their_number_allows():
    """All of V videos have one value with probability q^V if a share q of all videos has it."""
    found = clustered_means(np.ones((30, 1)), np.ones((30, 1)), np.arange(30))
    assert (found.low[0], found.high[0]) == (pytest.approx(0.025 ** (1 / 30)), 1)
    same = paired_difference(np.zeros(30), np.arange(30))
    assert (same.value, same.p) == (0, 1)
    assert -0.12 < same.low < 0 < same.high < 0.12
    better = [paired_difference(np.full(videos, 0.2), np.arange(videos)) for videos in (10, 30)]
    assert [one.low > 0 for one in better] == [one.p < 0.05 for one in better] == [False, True]


def test_few_bad_videos_with_few_pairs_are_not_overlooked():
    """Nine good videos of ten pairs and one bad video of one pair: the bad kind may be as frequent as one in ten."""
    video = np.repeat(np.arange(30), [*[10] * 29, 1])
    change = np.where(video == 29, -0.5, 0.03) + 0.001 * np.random.default_rng(1).standard_normal(len(video))
    assert paired_difference(change, video).p > 0.05
    assert paired_difference(change[video < 29], video[video < 29]).p < 1e-6


def test_the_smallest_change_is_detected_four_times_in_five():
    rng = np.random.default_rng(4)
    smallest = np.mean([paired_difference(*changes(rng, 30)).smallest for _ in range(50)])
    sets = [changes(rng, 30) for _ in range(300)]
    assert 0.72 <= np.mean([paired_difference(change + smallest, video).p < 0.05 for change, video in sets]) <= 0.88


def test_means_stay_between_their_bounds():
    rng = np.random.default_rng(5)
    values = np.where(rng.random((8, 1)) < 0.7, 1.0, 0.2)
    found = clustered_means(values, np.ones((8, 1)), np.arange(8))
    assert 0 < found.low[0] < found.value[0] < found.high[0] <= 1
    decay = clustered_means(values - 1, np.ones((8, 1)), np.arange(8), lowest=-1.0)
    assert -1 < decay.low[0] < decay.value[0] < decay.high[0] < 0.5
