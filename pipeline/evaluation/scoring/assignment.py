"""Assign predictions to objects, as the DAVIS 2017 unsupervised evaluation does."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.pair_metrics import j_and_f
from pipeline.evaluation.scoring.counting import PairMatch
from pipeline.masks.pairs_to_score import MaskKey

UNASSIGNED: MaskKey = ("", "")  # the prediction of a pair that gets none


def assign(matches: Sequence[PairMatch]) -> dict[int, PairMatch]:
    """Return for each pair, by its row, the match with the prediction assigned to it, or the one with UNASSIGNED.

    `matches` hold every pair of a video and annotator with each of their predictions, and with UNASSIGNED. Each
    prediction goes to one pair at most, so that the total of (mean J + mean F) / 2 is highest. Frames that are not
    predicted are scored as empty masks, as in label maps.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and few protocols need it

    groups: dict[tuple[str, str | None], dict[int, dict[MaskKey, PairMatch]]] = defaultdict(dict)
    for match in matches:
        group = groups[match.pair.video_id, match.pair.annotator]
        group.setdefault(match.pair.row, {})[match.predicted_as] = match
    chosen = {}
    for group in groups.values():
        totals: dict[MaskKey, dict[int, float]] = defaultdict(dict)
        for row, by_key in group.items():
            for key, match in by_key.items():
                if match.error is None and any(frame.prediction >= 0 for frame in match.frames):
                    j, f = j_and_f(match.counts)
                    totals[key][row] = float((j.mean() + f.mean()) / 2)
        rows = [row for row, by_key in group.items() if next(iter(by_key.values())).frames]
        keys = sorted(totals)
        matrix = np.array([[totals[key].get(row, 0.0) for row in rows] for key in keys])
        assigned = zip(*linear_sum_assignment(-matrix), strict=True) if matrix.size else ()
        key_of = {rows[column]: keys[line] for line, column in assigned}
        for row, by_key in group.items():
            chosen[row] = by_key[key_of.get(row, UNASSIGNED)]
    return chosen
