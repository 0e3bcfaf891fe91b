"""The assignment against trying all of them."""

import itertools

import numpy as np
import pytest

from pipeline.evaluation.scoring.assignment import UNASSIGNED, assign
from pipeline.evaluation.scoring.counting import PairMatch
from pipeline.evaluation.scoring.match_frames import MatchedFrame
from pipeline.masks.pairs_to_score import RequestedFrames, RequestedPair


def work(row, key, overlap):
    """One frame; `overlap` of 100 pixels, no boundary: J is overlap / 100, F is 1."""
    pair = RequestedPair(row, "v", None, str(row + 1), (str(row + 1),), (str(row + 1),), "k", RequestedFrames())
    frame = MatchedFrame("0", 0, (10, 10), [0], -1 if key == UNASSIGNED else 0, [], -1, -1)
    return PairMatch(pair, key, [frame], counts=np.array([[overlap, 100, 0, 0, 0, 0, overlap]]))


class AnyMasks:
    def is_empty(self, row):
        return False


@pytest.mark.parametrize(("objects", "predictions"), [(3, 3), (3, 2), (2, 4)])
def test_the_best_total(objects, predictions):
    overlaps = np.random.default_rng(objects * predictions).integers(1, 100, (objects, predictions))
    keys = [("v", str(n + 1)) for n in range(predictions)]
    works = [work(row, key, overlaps[row, n]) for row in range(objects) for n, key in enumerate(keys)]
    works += [work(row, UNASSIGNED, 0) for row in range(objects)]
    found = {row: one.predicted_as for row, one in assign(works, AnyMasks()).items()}
    total = sum(overlaps[row, keys.index(key)] for row, key in found.items() if key != UNASSIGNED)
    used = min(objects, predictions)
    best = max(
        sum(overlaps[row, n] for row, n in zip(rows, columns, strict=True))
        for rows in itertools.permutations(range(objects), used)
        for columns in itertools.combinations(range(predictions), used)
    )
    assert total == best
    assert len(set(found.values()) - {UNASSIGNED}) == used
