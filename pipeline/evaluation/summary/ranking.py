"""Which entries of a ranking can be told apart, given that the first of K is there because it is the best of K."""

from string import ascii_lowercase

import numpy as np

from pipeline.evaluation.summary.intervals import LEVEL
from pipeline.evaluation.summary.protocol_mean import VideoSums
from pipeline.evaluation.summary.statistics import holm, infer_differences

RANKING_METHOD = "each pair of entries as in 'rvos compare', Holm's correction for all pairs of entries"
_AT_ONCE = 5_000_000  # videos times pairs of entries


def pairwise_p(sums: VideoSums) -> np.ndarray:
    """Return p [K, K] that two entries are equally good, corrected for all pairs of the K entries (Holm).

    Whichever entry is first, and whatever is chosen by its rank, at most one set of equal entries in twenty shows a
    difference anywhere.
    """
    videos, _, entries = sums.totals.shape
    first, second = np.triu_indices(entries, 1)
    blocks = np.array_split(np.arange(len(first)), 1 + len(first) * videos // _AT_ONCE)
    p = np.concatenate([infer_differences(sums, first[block], second[block]).p() for block in blocks])
    found = np.ones((entries, entries))
    found[first, second] = holm(np.nan_to_num(p, nan=1.0).tolist())
    return np.minimum(found, found.T)


def tied_groups(p: np.ndarray) -> list[list[str]]:
    """Return the letters of the groups that each entry belongs to, from p [K, K] in order of rank.

    A group is a run of the ranking in which no two entries can be told apart; runs may overlap.
    """
    entries, end, count = len(p), 0, 0
    letters: list[list[str]] = [[] for _ in range(entries)]
    for start in range(entries):
        stop = max(start + 1, end)
        while stop < entries and (p[start:stop, stop] >= LEVEL).all():
            stop += 1
        if stop > end:
            for members in letters[start:stop]:
                members.append(_letter(count))
            end, count = stop, count + 1
    return letters


def _letter(number: int) -> str:
    """a to z, then aa, ab ..."""
    rest, last = divmod(number, len(ascii_lowercase))
    return (_letter(rest - 1) if rest else "") + ascii_lowercase[last]
