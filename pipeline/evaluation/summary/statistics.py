"""Intervals and tests for means over pairs. The pairs of one video are alike, so whole videos are resampled or flipped.

Bootstrap of a ratio of sums over clusters with percentile intervals: Davison and Hinkley, Bootstrap Methods and their
Application, 3.8 and 5.3. Sign-flip permutation test: Good, Permutation, Parametric and Bootstrap Tests, 3.2. Holm,
A simple sequentially rejective multiple test procedure (1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
MAX_DRAWS = 400_000_000  # of videos; beyond 40,000 videos there are fewer resamples, but never below LEAST
LEAST = 1_000
SEED = 20_170_401
_CHUNK = 2_000_000  # draws held at once
_EXACT_VIDEOS = 13  # up to so many, all sign flips are tried


@dataclass(frozen=True, slots=True)
class Means:
    """Weighted means of M metrics: the mean of the means of the strata. NaN if all weights are zero."""

    value: np.ndarray  # float64 [M]
    low: np.ndarray  # 95 % interval; NaN with fewer than two videos
    high: np.ndarray
    videos: int

    def interval(self, n: int) -> tuple[float, float] | None:
        """Return both ends of the interval of metric `n`, or None with fewer than two videos."""
        low, high = float(self.low[n]), float(self.high[n])
        return None if np.isnan(low) else (low, high)


def clustered_means(
    values: np.ndarray,
    weights: np.ndarray,
    videos: np.ndarray,
    strata: np.ndarray | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Means:
    """Return means of values [N, M] by weights [N, M], with bootstrap intervals over `videos` [N], ids of any type.

    strata [N]: ids of groups. Each group has its own mean, and all groups weigh the same.
    """
    names, cluster = np.unique(videos, return_inverse=True)
    layers, layer = np.unique(np.zeros(len(values)) if strata is None else strata, return_inverse=True)
    sums = np.zeros((len(names), len(layers), 2, values.shape[1]))
    np.add.at(sums[:, :, 0], (cluster, layer), np.where(weights > 0, values * weights, 0.0))
    np.add.at(sums[:, :, 1], (cluster, layer), weights)
    point = _ratio(sums.sum(axis=0)[None])[0]
    if len(names) < 2:
        nothing = np.full(values.shape[1], np.nan)
        return Means(point, nothing, nothing, len(names))
    drawn = resample(sums.reshape(len(names), -1), resamples=resamples, seed=seed)
    low, high = _percentiles(_ratio(drawn.reshape(-1, *sums.shape[1:])))
    return Means(point, low, high, len(names))


def resample(sums: np.ndarray, *, resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """Draw V rows of `sums` [V, K] with replacement, B times. Returns the total of each draw, [B, K]."""
    clusters = len(sums)
    resamples = min(resamples, max(LEAST, MAX_DRAWS // clusters))
    rng = np.random.default_rng(seed)
    totals = np.empty((resamples, sums.shape[1]))
    step = max(1, _CHUNK // clusters)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(clusters, size=(rows, clusters), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * clusters)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)
        totals[start : start + rows] = times.astype(np.float64) @ sums
    return totals


def _ratio(sums: np.ndarray) -> np.ndarray:
    """Return means [B, M] of sums [B, strata, 2, M]."""
    weight = sums[:, :, 1]
    ratio = np.divide(sums[:, :, 0], weight, out=np.zeros_like(weight), where=weight > 0)
    strata = (weight > 0).sum(axis=1)
    return np.divide(ratio.sum(axis=1), strata, out=np.full(strata.shape, np.nan), where=strata > 0)


def _percentiles(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.full((2, means.shape[1]), np.nan)
    for m, column in enumerate(means.T):
        there = column[~np.isnan(column)]
        if len(there):
            low[m], high[m] = np.percentile(there, (2.5, 97.5))
    return low, high


@dataclass(frozen=True, slots=True)
class Difference:
    """Comparison of two paired sets.

    `smallest` is the true difference that a test at 5 % would find in 80 of 100 such sets.
    """

    value: float
    low: float
    high: float
    p: float
    smallest: float
    pairs: int
    videos: int


def paired_difference(
    differences: np.ndarray, videos: np.ndarray, *, resamples: int = RESAMPLES, seed: int = SEED
) -> Difference:
    """Return the mean of `differences` [N], its bootstrap interval over videos, and a p-value.

    The permutation test flips the signs of all differences of a video together: every combination if the videos are
    few, random ones otherwise.
    """
    names, cluster = np.unique(videos, return_inverse=True)
    sums = np.stack([np.bincount(cluster, differences), np.bincount(cluster)], axis=1).astype(np.float64)
    total, count = sums.sum(axis=0)
    if len(names) < 2:
        nothing = float("nan")
        return Difference(float(total / count), nothing, nothing, 1.0, nothing, int(count), len(names))
    drawn = resample(sums, resamples=resamples, seed=seed)
    means = drawn[:, 0] / drawn[:, 1]
    low, high = np.percentile(means, (2.5, 97.5))
    flipped, exact = _flipped_totals(sums[:, 0], resamples, seed)
    extreme = int((np.abs(flipped) >= abs(total) * (1 - 1e-12)).sum())
    p = extreme / len(flipped) if exact else (extreme + 1) / (len(flipped) + 1)
    smallest = (1.959964 + 0.841621) * float(means.std())  # quantiles of 5 %, two-sided, and of a power of 80 %
    return Difference(float(total / count), float(low), float(high), p, smallest, int(count), len(names))


def _flipped_totals(sums: np.ndarray, flips: int, seed: int) -> tuple[np.ndarray, bool]:
    """Return the sums over videos under sign flips, and True if these are all combinations."""
    videos = len(sums)
    if videos <= _EXACT_VIDEOS:
        signs = 1 - 2 * (np.arange(2**videos)[:, None] >> np.arange(videos) & 1)
        return signs @ sums, True
    rng = np.random.default_rng(seed + 1)
    flips = min(flips, max(LEAST, MAX_DRAWS // videos))
    step = max(1, _CHUNK // videos)
    parts = [
        (1 - 2 * rng.integers(2, size=(min(step, flips - start), videos), dtype=np.int8)) @ sums
        for start in range(0, flips, step)
    ]
    return np.concatenate(parts), False


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for multiple tests by the method of Holm, in the order of `p`."""
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, n in enumerate(sorted(range(len(p)), key=lambda n: p[n])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[n]))
        corrected[n] = highest
    return corrected
