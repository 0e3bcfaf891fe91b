"""What is measured of one track: each metric is a value and a weight, and means are weighted ones.

J and F per frame: DAVIS 2017 evaluation, `db_eval_iou` and `db_eval_boundary`; recall and decay: `db_statistics`.
A and R: R2-VOS and VISA (ReVOS). tIoU and vIoU: Long-RVOS. N-acc and T-acc: GRES. IoU and P@k: the A2D evaluation of
MTTR. In the words of `Protocol.explain`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipeline.evaluation.metrics import kernel
from pipeline.evaluation.protocols import PRECISION_AT

SMALL = np.float32(1e-6)


@dataclass(frozen=True, slots=True)
class Track:
    """The N frames of one pair that count, in order. No target: the pair asks for something that is not there."""

    index: np.ndarray  # int32 [N], frame_index
    counts: np.ndarray  # int64 [N, 7], as `kernel.score_frames` gives them
    pixels: np.ndarray  # int64 [N], of the frame
    foreground: np.ndarray  # int64 [N], pixels of any object; -1: not known
    missing: np.ndarray  # bool [N]: not predicted, and to be scored as zero
    no_target: bool
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
    ) -> "Track":
        j, f = j_and_f(counts)
        if no_target:  # a prediction that fills the frame has no boundary, but is none the better for it
            f = j
        j, f = np.where(missing, 0.0, j), np.where(missing, 0.0, f)
        return cls(index, counts, pixels, foreground, missing, no_target, j, f)

    def take(self, keep: np.ndarray) -> "Track":
        """Some of the frames, by a bool mask [N]."""
        names = ("index", "counts", "pixels", "foreground", "missing", "j", "f")
        return replace(self, **{name: getattr(self, name)[keep] for name in names})

    @property
    def truth_area(self) -> np.ndarray:
        return self.counts[:, kernel.INTER] + self.counts[:, kernel.UNION] - self.predicted_area

    @property
    def predicted_area(self) -> np.ndarray:
        return self.counts[:, kernel.PREDICTED]


class Value(NamedTuple):
    """Of one pair. The metric over many is the mean of values by weights; weight 0: the pair has no value."""

    value: float
    weight: float = 1.0


NONE = Value(0.0, 0.0)


def j_and_f(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """J and F, float64 [N], from the kernel's counts [N, 7]; to the last bit those of the DAVIS 2017 evaluation.

    J = inter / union, 1 if both masks are empty. F = 2PR / (P + R), 0 if P + R is 0; P is the matched share of the
    predicted boundary, R that of the true one. If only one of them has boundary, F is 0; if neither has, 1.
    """
    inter, union, n_gt, n_pred, gt_match, pred_match, _ = counts.T.astype(np.float64)
    j = np.divide(inter, union, out=np.ones(len(counts)), where=union > 0)
    precision = pred_match / np.maximum(n_pred, 1)
    recall = gt_match / np.maximum(n_gt, 1)
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros(len(counts)), where=total > 0)
    f[(n_gt == 0) & (n_pred == 0)] = 1.0
    return j, f


def decay(values: np.ndarray, *, eight_bit: bool = False) -> float:
    """Mean of the first of four parts less that of the last; parts share their end frames.

    `eight_bit`: frame numbers wrap at 256 as in the published code, which leaves parts wrong or empty (NaN).
    """
    ids = np.round(np.linspace(1, len(values), 5) + 1e-10) - 1
    starts = ids.astype(np.uint8 if eight_bit else np.int64)
    stops = starts + starts.dtype.type(1)
    first, last = values[starts[0] : stops[1]], values[starts[3] : stops[4]]
    return float(first.mean() - last.mean()) if len(first) and len(last) else float("nan")


def iou32(track: Track) -> np.ndarray:
    """(I + 1e-6) / (U + 1e-6) in single precision, float64 [N]; 0 where nothing is predicted."""
    inter, union = (track.counts[:, column].astype(np.float32) for column in (kernel.INTER, kernel.UNION))
    return np.where(track.missing, 0, ((inter + SMALL) / (union + SMALL)).astype(np.float64))


def _decay(name: str, eight_bit: bool) -> Callable[[Track], Value]:
    def measure(track: Track) -> Value:
        value = decay(getattr(track, name), eight_bit=eight_bit)
        return NONE if np.isnan(value) else Value(value)

    return measure


def _equal_pixels(track: Track) -> Value:
    wrong = track.counts[:, kernel.UNION] - track.counts[:, kernel.INTER]
    return _mean(np.where(track.missing, 0, 1 - wrong / track.pixels))


def _robustness(track: Track) -> Value:
    if (track.foreground < 0).any():
        return NONE
    wrong = track.predicted_area - track.counts[:, kernel.INTER]
    return _mean(np.where(track.missing, 0, np.maximum(0, 1 - wrong / (track.foreground + 1e-6))))


def _temporal(track: Track) -> Value:
    both, either = _presence(track)
    if not either.any():
        return Value(0.0 if track.missing.any() else 1.0)
    return Value(float(both.sum() / either.sum()))


def _volume(track: Track) -> Value:
    both, either = _presence(track)
    if not either.any():
        return Value(0.0 if track.missing.any() else 1.0)
    return Value(float(track.j[both].sum() / either.sum()))


def _presence(track: Track) -> tuple[np.ndarray, np.ndarray]:
    """In which frames both masks have a pixel, and in which either has."""
    predicted, present = track.predicted_area > 0, track.truth_area > 0
    return predicted & present, predicted | present


def _no_target_accuracy(track: Track) -> Value:
    found = not track.missing.any() and not track.predicted_area.any()
    return Value(float(found)) if track.no_target else NONE


def _target_accuracy(track: Track) -> Value:
    return NONE if track.no_target else Value(float(track.predicted_area.any()))


def _overall_iou(track: Track) -> Value:
    inter, union = (float(track.counts[:, column].sum()) for column in (kernel.INTER, kernel.UNION))
    return Value(inter / union, union) if union else NONE


def _precision(threshold: float) -> Callable[[Track], Value]:
    return lambda track: _per_frame(iou32(track) > threshold)


def _mean(values: np.ndarray) -> Value:
    return Value(float(values.mean()))


def _per_frame(values: np.ndarray) -> Value:
    return Value(float(values.mean()), float(len(values)))


def measures(*, decay_8bit: bool = False) -> dict[str, Callable[[Track], Value]]:
    """All metrics of a track by name, but `J&F`, which is the mean of the means of J and F, and `mAP`."""
    return {
        "J": lambda track: _mean(track.j),
        "F": lambda track: _mean(track.f),
        "J-recall": lambda track: _mean(track.j > 0.5),
        "F-recall": lambda track: _mean(track.f > 0.5),
        "J-decay": _decay("j", decay_8bit),
        "F-decay": _decay("f", decay_8bit),
        "A": _equal_pixels,
        "R": _robustness,
        "tIoU": _temporal,
        "vIoU": _volume,
        "N-acc": _no_target_accuracy,
        "T-acc": _target_accuracy,
        "overall IoU": _overall_iou,
        "mean IoU": lambda track: _per_frame(iou32(track)),
        **{f"P@{threshold}": _precision(threshold) for threshold in PRECISION_AT},
    }
