"""Which prediction stands for which object: the assignment of the DAVIS 2017 unsupervised evaluation."""

from collections.abc import Sequence

import numpy as np

from pipeline.evaluation.metrics.pair_metrics import j_and_f
from pipeline.evaluation.scoring.pixel_counts import PairMatch
from pipeline.masks.requested import MaskKey

NOTHING: MaskKey = ("", "")  # the prediction of a pair to which none is assigned


def assign(works: Sequence[PairMatch]) -> dict[int, PairMatch]:
    """For each pair, by its row, the work with the prediction that is assigned to it, or one without any.

    `works` hold every pair of a video and annotator against every prediction of these, and against NOTHING. Each
    prediction goes to one pair at most, so that the total of (mean J + mean F) / 2 is highest.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import, and few protocols need it

    groups: dict[tuple[str, str | None], dict[int, dict[MaskKey, PairMatch]]] = {}
    for work in works:
        group = groups.setdefault((work.pair.video_id, work.pair.annotator), {})
        group.setdefault(work.pair.row, {})[work.predicted_as] = work
    chosen = {}
    for group in groups.values():
        counted = [row for row, of in group.items() if next(iter(of.values())).frames]
        keys = sorted({key for of in group.values() for key, work in of.items() if _is_predicted(work)})
        totals = np.array([[_total(group[row].get(key)) for row in counted] for key in keys])
        pairs = zip(*linear_sum_assignment(-totals), strict=True) if totals.size else ()
        of_row = {counted[column]: keys[at] for at, column in pairs}
        for row, of in group.items():
            chosen[row] = of[of_row.get(row, NOTHING)]
    return chosen


def _is_predicted(work: PairMatch) -> bool:
    return work.error is None and any(frame.prediction >= 0 for frame in work.frames)


def _total(work: PairMatch | None) -> float:
    """(mean J + mean F) / 2; frames that are not predicted are empty masks, as in label maps."""
    if work is None or not _is_predicted(work):
        return 0.0
    j, f = j_and_f(work.counts)
    return float((j.mean() + f.mean()) / 2)
