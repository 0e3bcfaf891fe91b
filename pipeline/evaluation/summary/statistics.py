"""Means of pairs and differences of two sets of scores, by video: the pairs of one video are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.summary.intervals import OF_DIFFERENCES, Inference
from pipeline.evaluation.summary.protocol_mean import VideoSums


@dataclass(frozen=True, slots=True)
class Means:
    """Weighted means of M metrics: the mean of the means of the strata. NaN if all weights are zero."""

    value: np.ndarray  # float64 [M]
    low: np.ndarray  # 95 % interval, see `inference`; NaN if too few videos count
    high: np.ndarray
    videos: int

    def interval(self, n: int) -> tuple[float, float] | None:
        """Return both ends of the interval of metric `n`, or None if there is none."""
        low, high = float(self.low[n]), float(self.high[n])
        return None if np.isnan(low) else (low, high)


def clustered_means(
    values: np.ndarray,
    weights: np.ndarray,
    videos: np.ndarray,
    strata: np.ndarray | None = None,
    *,
    lowest: float | np.ndarray = 0.0,
) -> Means:
    """Return means of values [N, M] by weights [N, M] with 95 % intervals. videos, strata: see `VideoSums.of`.

    lowest: least possible value of each metric; the highest is 1.
    """
    sums = VideoSums.of(values, weights, videos, strata)
    found = Inference.of(sums.means(), sums.means_without(), sums.shares(), sums.videos(), lowest)
    return Means(found.value, *found.interval(), len(sums.totals))


@dataclass(frozen=True, slots=True)
class Difference:
    """Comparison of two paired sets: `value` is the second mean minus the first.

    `smallest` is the true difference that a test at 5 % would find in 80 of 100 such sets. low, high and smallest are
    NaN, and p is 1, if too few videos count to show a difference.
    """

    value: float
    low: float
    high: float
    p: float
    smallest: float
    pairs: int
    videos: int


def difference_of(sums: VideoSums, first: int, second: int, pairs: int) -> Difference:
    """Return the mean `second` of `sums` minus the mean `first`, of this number of pairs."""
    found = infer_differences(sums, np.array([first]), np.array([second]))
    low, high = found.interval()
    value, low, high, p, smallest = (float(one[0]) for one in (found.value, low, high, found.p(), found.smallest()))
    return Difference(value, low, high, p, smallest, pairs, len(sums.totals))


def infer_differences(sums: VideoSums, first: np.ndarray, second: np.ndarray) -> Inference:
    """Infer the means `second` minus the means `first`, both numbers [D] of metrics of `sums`."""
    means, without, shares, videos = sums.means(), sums.means_without(), sums.shares(), sums.videos()
    return Inference.of(
        means[second] - means[first],
        without[:, second] - without[:, first],
        (shares[:, second] + shares[:, first]) / 2,
        np.minimum(videos[second], videos[first]),
        lowest=-1.0,
        multiples=OF_DIFFERENCES,
    )


def paired_difference(differences: np.ndarray, videos: np.ndarray) -> Difference:
    """Compare two sets of pairs that all weigh the same, by their differences [N]."""
    values = np.stack([np.zeros(len(differences)), differences], axis=1)
    return difference_of(VideoSums.of(values, np.ones_like(values), videos), 0, 1, len(differences))


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests in the order of `p`: Holm, A simple sequentially rejective multiple
    test procedure (1979).
    """
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, n in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[n]))
        corrected[n] = highest
    return corrected
