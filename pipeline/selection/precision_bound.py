"""A lower bound of the precision of a cut, from labelled pairs; the pairs of one video are alike.

Clopper and Pearson's bound, The use of confidence or fiducial limits (1934), of the effective number of pairs, as Korn
and Graubard do for surveys (Confidence intervals for proportions with small expected number of positive counts, 1998).
"""

import numpy as np
from scipy.special import betaincinv

CONFIDENCE = 0.9  # share of the cuts offered that have the precision, on other videos
# Found by simulation, see benchmarks/RESULTS.md: at a level of 0.1, too few of the cuts hold that are offered for weak
# signals, where they are rare. Few videos also underestimate how alike their pairs are.
_LEVEL = 0.03
_LEAST_LIKENESS = 0.2
_FEWEST_TIMES, _MOST_TIMES = 1.1, 1000  # labels that are worth asking for, as a multiple of those at hand
_CHANCE = 1.28  # standard errors by which a share is at most too low in nine of ten cases


def likeness(is_good: np.ndarray, videos: np.ndarray) -> float:
    """Return the intraclass correlation (analysis of variance) of is_good, bool [N], in videos [N]; at least 0.2."""
    _, video = np.unique(videos, return_inverse=True)
    size, good = np.bincount(video), np.bincount(video, is_good)
    clusters, pairs = len(size), len(video)
    if not 1 < clusters < pairs:
        return _LEAST_LIKENESS
    share = good / size
    between = float((size * (share - good.sum() / pairs) ** 2).sum()) / (clusters - 1)
    within = float((size * share * (1 - share)).sum()) / (pairs - clusters)
    spread = between + ((pairs - (size**2).sum() / pairs) / (clusters - 1) - 1) * within
    return max(_LEAST_LIKENESS, (between - within) / spread if spread > 0 else 0.0)


def effective_pairs(kept: np.ndarray, alike: float) -> np.ndarray:
    """Return how many independent pairs [C] the kept pairs [V, C] of V videos are worth (Kish's design effect)."""
    count = np.maximum(kept.sum(axis=0), 1)
    return count / np.maximum(1 + ((kept**2).sum(axis=0) / count - 1) * alike, 1)


def lower_bound(share: np.ndarray, effective: np.ndarray) -> np.ndarray:
    """Return the lower bound of a precision from the share of good pairs and the effective number of pairs."""
    good = share * effective
    return np.where(good > 0, betaincinv(np.maximum(good, 1e-9), effective - good + 1, _LEVEL), 0.0)


def times_as_many(share: np.ndarray, effective: np.ndarray, wanted: float) -> float | None:
    """Return the factor by which labels must grow until the bound of some cut probably reaches `wanted`.

    share, effective: of C cuts, see `lower_bound`. Each share is drawn towards `wanted` by two effective pairs, since
    the best of C looks better than it is, and may come out lower by chance. None if beyond a factor of 1,000.
    """
    share = (share * effective + 2 * wanted) / (effective + 2)
    for factor in np.geomspace(_FEWEST_TIMES, _MOST_TIMES, 100):
        unlucky = share - _CHANCE * np.sqrt(share * (1 - share) / (factor * effective))
        if lower_bound(np.maximum(unlucky, 0), factor * effective).max() >= wanted:
            return float(factor)
    return None
