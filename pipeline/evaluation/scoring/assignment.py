"""Assign predictions to objects, as the DAVIS 2017 unsupervised evaluation does."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.pair_metrics import j_and_f
from pipeline.evaluation.scoring.counting import PairMatch
from pipeline.evaluation.scoring.match_frames import MaskTable
from pipeline.masks.label_numbers import are_labels
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair

UNASSIGNED: MaskKey = ("", "")  # the prediction of a pair that gets none


def assign(matches: Sequence[PairMatch], masks: MaskTable) -> dict[int, PairMatch]:
    """Return for each pair, by its row, the match with the prediction assigned to it, or the one with UNASSIGNED.

    `matches` hold every pair of a video and annotator with each of their predictions, and with UNASSIGNED. Each
    prediction goes to one pair at most, so that the total of (mean J + mean F) / 2 is highest. As published, labels
    that the predictions skip compete as empty predictions, and so do as many more as it takes for one for each pair.
    Frames that are not predicted are scored as empty masks, as in label maps.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and few protocols need it

    groups: dict[tuple[str, str | None], dict[int, dict[MaskKey, PairMatch]]] = defaultdict(dict)
    for match in matches:
        group = groups[match.pair.video_id, match.pair.annotator]
        group.setdefault(match.pair.row, {})[match.predicted_as] = match
    chosen = {}
    for group in groups.values():
        label_of = _labels([by_key[UNASSIGNED].pair for by_key in group.values()])
        rows = sorted((row for row, by_key in group.items() if by_key[UNASSIGNED].frames), key=label_of.__getitem__)
        slots = _slots(group, label_of, len(rows), masks)
        matrix = np.array([[_total(group[row][key]) for row in rows] for key in slots])
        assigned = zip(*linear_sum_assignment(-matrix), strict=True) if matrix.size else ()
        key_of = {rows[column]: slots[line] for line, column in assigned}
        for row, by_key in group.items():
            chosen[row] = by_key[key_of.get(row, UNASSIGNED)]
    return chosen


def _labels(pairs: Sequence[RequestedPair]) -> dict[int, int]:
    """Return the label of each pair's object in a label map, by row: its id, or its position if ids are no labels."""
    ids = [pair.object_id or "" for pair in pairs]
    if len(set(ids)) == len(ids) and are_labels(ids):
        return {pair.row: int(object_id) for pair, object_id in zip(pairs, ids, strict=True)}
    return {pair.row: position for position, pair in enumerate(pairs, 1)}


def _slots(
    group: dict[int, dict[MaskKey, PairMatch]], label_of: dict[int, int], scored: int, masks: MaskTable
) -> list[MaskKey]:
    """Return the predictions that compete, by label from 1 on: at least as many as pairs are scored."""
    matches = [match for by_key in group.values() for match in by_key.values() if match.frames]
    shown = {match.predicted_as for match in matches if match.error is None and _is_shown(match, masks)}
    pairs = [by_key[UNASSIGNED].pair for by_key in group.values()]
    if all(pair.expression_id is None for pair in pairs):
        key_of = {int(key[1]): key for key in shown if are_labels([key[1]])}
    else:
        key_of = {label_of[pair.row]: pair.key for pair in pairs if pair.key in shown}
    return [key_of.get(label, UNASSIGNED) for label in range(1, max([scored, *key_of]) + 1)]


def _is_shown(match: PairMatch, masks: MaskTable) -> bool:
    """Return whether the prediction has a pixel in any scored frame."""
    return any(frame.prediction >= 0 and not masks.is_empty(frame.prediction) for frame in match.frames)


def _total(match: PairMatch) -> float:
    j, f = j_and_f(match.counts[: len(match.frames)])
    return float((j.mean() + f.mean()) / 2)
