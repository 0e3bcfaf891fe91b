"""The mean that a protocol defines, and the same mean without each video.

`rvos evaluate`, `compare`, `leaderboard` and `report` take it from here, so that their numbers agree. Sums are exact
before they are rounded, so that no digit depends on the order of pairs, or on how many workers scored them.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.evaluation.protocols import MEAN_WEIGHT, Protocol
from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class VideoSums:
    """Sums over the pairs of V videos in S strata, of which M means are made; a video may be in several strata."""

    totals: np.ndarray  # float64 [V, S, M]: sum of weight times value
    weights: np.ndarray  # float64 [V, S, M]: sum of weights

    @classmethod
    def of(
        cls, values: np.ndarray, weights: np.ndarray, videos: np.ndarray, strata: np.ndarray | None = None
    ) -> "VideoSums":
        """Add up values [N, M] by weights [N, M]. videos, strata: ids [N] of any type; without strata there is one."""
        names, video = np.unique(videos, return_inverse=True)
        layers, layer = np.unique(np.zeros(len(values)) if strata is None else strata, return_inverse=True)
        sums = cls(*np.zeros((2, len(names), len(layers), values.shape[1])))
        products = np.where(weights > 0, values * weights, 0.0)
        group = video * len(layers) + layer
        rows = np.split(np.argsort(group, kind="stable"), np.flatnonzero(np.diff(np.sort(group))) + 1)
        for of_group in rows if len(values) else ():
            place = video[of_group[0]], layer[of_group[0]]
            sums.totals[place] = exact_sum(products[of_group])
            sums.weights[place] = exact_sum(weights[of_group])
        return sums

    def means(self) -> np.ndarray:
        """Return the mean of the means of the strata, [M]; NaN if all weights are zero."""
        return _mean_of_strata(exact_sum(self.totals), exact_sum(self.weights))

    def means_without(self) -> np.ndarray:
        """Return what `means` would be without each video, [V, M]."""
        others = (self.weights > 0).sum(axis=0) - (self.weights > 0)
        # Exactly 0 where no other video has the stratum.
        weights = np.where(others > 0, self.weights.sum(axis=0) - self.weights, 0.0)
        return _mean_of_strata(self.totals.sum(axis=0) - self.totals, weights)

    def shares(self) -> np.ndarray:
        """Return the weight of each video in the mean, [V, M]: the shares of a metric add up to 1."""
        whole = self.weights.sum(axis=0)
        strata = np.maximum((whole > 0).sum(axis=0), 1)
        return np.divide(self.weights, whole, out=np.zeros_like(self.weights), where=whole > 0).sum(axis=1) / strata

    def videos(self) -> np.ndarray:
        """Return the number of videos with pairs of each metric, int [M]; with several strata, in the smallest."""
        count = (self.weights > 0).sum(axis=0)
        return np.where(count > 0, count, np.iinfo(count.dtype).max).min(axis=0) * (count > 0).any(axis=0)


def exact_sum(values: np.ndarray) -> np.ndarray:
    """Return the sums over the first axis, rounded once, so that they do not depend on the order."""
    columns = values.reshape(len(values), -1).T.tolist()
    return np.array([math.fsum(column) for column in columns]).reshape(values.shape[1:])


def strata_of(protocol: Protocol, pairs: Any) -> np.ndarray | None:
    """Return the column of the pairs that the protocol averages within, as text; None if they do not have it."""
    name = protocol.mean_over
    return None if name is None or name not in pairs.columns else pairs[name].astype(str).to_numpy()


def weights_of(protocol: Protocol, rows: Any, source: str) -> np.ndarray:
    """Return the weight of each row of a table of scores in the mean of its metric, [N].

    Raises InputError if the protocol weights them and the table, read from `source`, has no or other weights.
    """
    if not protocol.per_frame:
        return np.ones(len(rows))
    if MEAN_WEIGHT not in rows:
        text = f"has no {MEAN_WEIGHT}, by which {protocol.name} averages, since an older version wrote it"
        raise InputError(f"{source} {text}; repeat 'rvos evaluate'")
    try:
        weights = rows[MEAN_WEIGHT].to_numpy(np.float64)
    except (TypeError, ValueError):
        weights = np.array([np.nan])
    if not (weights >= 0).all() or np.isinf(weights).any():
        raise InputError(f"{source}: {MEAN_WEIGHT} must be a number of at least 0 in each row; repeat 'rvos evaluate'")
    return weights


def _mean_of_strata(totals: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return means [..., M] of totals and weights [..., S, M]."""
    ratio = np.divide(totals, weights, out=np.zeros_like(weights), where=weights > 0)
    strata = (weights > 0).sum(axis=-2)
    return np.divide(ratio.sum(axis=-2), strata, out=np.full(strata.shape, np.nan), where=strata > 0)
