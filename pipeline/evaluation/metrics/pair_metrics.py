"""The metrics of one pair: each maps its frames to a value and a weight, and means over pairs are weighted.

To add a metric, write a function of an `ObjectTrack` and list it in `METRICS`.

J and F per frame: DAVIS 2017 evaluation, `db_eval_iou` and `db_eval_boundary`; recall and decay: `db_statistics`.
A and R: R2-VOS and VISA (ReVOS). tIoU and vIoU: Long-RVOS. N-acc and T-acc: GRES. IoU and P@k: the A2D evaluation of
MTTR. `Protocol.explain` defines them in words.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.metrics import count_columns
from pipeline.evaluation.protocols import PRECISION_AT

IOU_EPSILON = np.float32(1e-6)


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """The N scored frames of one pair, in order."""

    index: np.ndarray  # int32 [N], frame_index
    counts: np.ndarray  # int64 [N, 7], the columns of `count_pixels.score_frames`
    pixels: np.ndarray  # int64 [N], height x width
    foreground: np.ndarray  # int64 [N], pixels of any object; -1: unknown
    missing: np.ndarray  # bool [N]: not predicted, scored as zero
    no_target: bool  # the expression refers to nothing in the video
    j: np.ndarray  # float64 [N]
    f: np.ndarray

    @classmethod
    def of(
        cls,
        index: np.ndarray,
        counts: np.ndarray,
        pixels: np.ndarray,
        foreground: np.ndarray,
        missing: np.ndarray,
        no_target: bool,
    ) -> "ObjectTrack":
        """Compute J and F from the counts."""
        j, f = j_and_f(counts)
        if no_target:  # a mask that fills the frame has no boundary, so its F would be 1
            f = j
        j, f = np.where(missing, 0.0, j), np.where(missing, 0.0, f)
        return cls(index, counts, pixels, foreground, missing, no_target, j, f)

    def take(self, keep: np.ndarray) -> "ObjectTrack":
        """Keep the frames where the bool mask [N] is set."""
        names = ("index", "counts", "pixels", "foreground", "missing", "j", "f")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    @property
    def truth_area(self) -> np.ndarray:
        return self.counts[:, count_columns.INTER] + self.counts[:, count_columns.UNION] - self.predicted_area

    @property
    def predicted_area(self) -> np.ndarray:
        return self.counts[:, count_columns.PREDICTED]


class MetricValue(NamedTuple):
    """A metric of one pair. The mean over pairs is weighted; a pair of weight 0 has no value."""

    value: float
    weight: float = 1.0


UNDEFINED = MetricValue(0.0, 0.0)


def j_and_f(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return J and F, float64 [N], of kernel counts [N, 7]; equal to the DAVIS 2017 evaluation to the last bit.

    J = inter / union, or 1 if both masks are empty. F = 2PR / (P + R), or 0 if P + R = 0, where P is the matched share
    of the predicted boundary and R that of the true one. F is 0 if only one mask has a boundary, 1 if neither has.
    """
    inter, union, n_gt, n_pred, gt_match, pred_match, _ = counts.T.astype(np.float64)
    j = np.divide(inter, union, out=np.ones(len(counts)), where=union > 0)
    precision = pred_match / np.maximum(n_pred, 1)
    recall = gt_match / np.maximum(n_gt, 1)
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros(len(counts)), where=total > 0)
    f[(n_gt == 0) & (n_pred == 0)] = 1.0
    return j, f


def iou32(track: ObjectTrack) -> np.ndarray:
    """Return (I + 1e-6) / (U + 1e-6) in single precision, as float64 [N]; 0 where nothing is predicted."""
    inter, union = (track.counts[:, column].astype(np.float32) for column in (count_columns.INTER, count_columns.UNION))
    return np.where(track.missing, 0, ((inter + IOU_EPSILON) / (union + IOU_EPSILON)).astype(np.float64))


def decay(values: np.ndarray) -> MetricValue:
    """Return the mean of the first quarter minus the mean of the last; neighbouring quarters share a frame."""
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(np.int64)
    first, last = values[ends[0] : ends[1] + 1], values[ends[3] : ends[4] + 1]
    return MetricValue(float(first.mean() - last.mean()))


def equal_pixels(track: ObjectTrack) -> MetricValue:
    """A of ReVOS: the share of pixels on which both masks agree."""
    wrong = track.counts[:, count_columns.UNION] - track.counts[:, count_columns.INTER]
    return pair_mean(np.where(track.missing, 0, 1 - wrong / track.pixels))


def robustness(track: ObjectTrack) -> MetricValue:
    """R of ReVOS; undefined without a foreground table."""
    if (track.foreground < 0).any():
        return UNDEFINED
    wrong = track.predicted_area - track.counts[:, count_columns.INTER]
    return pair_mean(np.where(track.missing, 0, np.maximum(0, 1 - wrong / (track.foreground + 1e-6))))


def overlap_in_time(track: ObjectTrack, *, weigh_by_j: bool) -> MetricValue:
    """tIoU of Long-RVOS, or with `weigh_by_j` its vIoU, which adds up J in place of frames."""
    predicted, present = track.predicted_area > 0, track.truth_area > 0
    both, either = predicted & present, predicted | present
    if not either.any():
        return MetricValue(0.0 if track.missing.any() else 1.0)
    return MetricValue(float((track.j[both] if weigh_by_j else both).sum() / either.sum()))


def no_target_accuracy(track: ObjectTrack) -> MetricValue:
    """N-acc of GRES: 1 if nothing is predicted for an expression without a target."""
    correct = not track.missing.any() and not track.predicted_area.any()
    return MetricValue(float(correct)) if track.no_target else UNDEFINED


def target_accuracy(track: ObjectTrack) -> MetricValue:
    """T-acc of GRES: 1 if anything is predicted for an expression with a target."""
    return UNDEFINED if track.no_target else MetricValue(float(track.predicted_area.any()))


def overall_iou(track: ObjectTrack) -> MetricValue:
    """Intersection over union of all frames; weighted by the union, so that the mean is that of all pairs."""
    inter, union = (float(track.counts[:, column].sum()) for column in (count_columns.INTER, count_columns.UNION))
    return MetricValue(inter / union, union) if union else UNDEFINED


def pair_mean(values: np.ndarray) -> MetricValue:
    """The mean over frames, where all pairs weigh the same."""
    return MetricValue(float(values.mean()))


def frame_mean(values: np.ndarray) -> MetricValue:
    """The mean over frames, where all frames of all pairs weigh the same."""
    return MetricValue(float(values.mean()), float(len(values)))


METRICS: dict[str, Callable[[ObjectTrack], MetricValue]] = {  # all but J&F, the mean of J and F, and mAP
    "J": lambda track: pair_mean(track.j),
    "F": lambda track: pair_mean(track.f),
    "J-recall": lambda track: pair_mean(track.j > 0.5),
    "F-recall": lambda track: pair_mean(track.f > 0.5),
    "J-decay": lambda track: decay(track.j),
    "F-decay": lambda track: decay(track.f),
    "A": equal_pixels,
    "R": robustness,
    "tIoU": functools.partial(overlap_in_time, weigh_by_j=False),
    "vIoU": functools.partial(overlap_in_time, weigh_by_j=True),
    "N-acc": no_target_accuracy,
    "T-acc": target_accuracy,
    "overall IoU": overall_iou,
    "mean IoU": lambda track: frame_mean(iou32(track)),
    **{f"P@{k}": lambda track, k=k: frame_mean(iou32(track) > k) for k in PRECISION_AT},
}
