"""Quality signals of one pair, without annotations: confidence of the model, steadiness of the masks, agreement."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco
from scipy import ndimage

from pipeline.export.coco_video import segmentation
from pipeline.masks.by_video import PairMasks

QUALITY_SIGNALS = {
    "frames": "frames with a mask, also an empty one",
    "mean_score": "mean of the frame scores",
    "lowest_score": "lowest frame score",
    "predicted_quality": "expected J of the masks as the model predicts it, also of masks that it left empty",
    "margin": "score of the chosen query minus that of the next best, mean over the frames' windows",
    "temporal_iou": "IoU of the masks of neighbouring frames, mean",
    "lowest_temporal_iou": "IoU of the masks of neighbouring frames, lowest",
    "flicker": "share of steps between frames at which the mask appears or vanishes",
    "area": "share of the frame that the mask covers, mean over frames where it is not empty",
    "area_jump": "largest growth or shrinkage between neighbouring frames, as a factor of 1 or more",
    "centroid_jump": "largest move of the centroid between neighbouring frames, in frame diagonals",
    "fragments": "connected pieces of the mask (8 neighbours), mean over frames where it is not empty",
    "border": "share of the frames with a non-empty mask in which it touches the border of the frame",
    "empty": "share of frames with an empty mask",
    "repeats": "earlier expressions of the video in the same words, ignoring case, punctuation and articles",
    "paraphrases": "mean IoU with the other expressions of the same object",
    "other_run": "mean IoU with the same pair of the other run; of several runs, the mean over them",
    "least_other_run": "of several other runs: mean IoU with the same pair of the run whose masks differ most",
}
OF_OTHER_RUNS = {"other_run": 1, "least_other_run": 2}  # number of other runs that a signal needs
SIGNAL_COLUMNS = pa.schema([pa.field(name, pa.float64()) for name in QUALITY_SIGNALS])
EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


def measure_masks(pair: PairMasks) -> dict[str, float | None]:
    """Return the QUALITY_SIGNALS of one pair by itself, None where a signal is undefined.

    Of the masks only two are held. Raises InputError for a broken mask.
    """
    areas: list[float] = []
    fragments: list[int] = []
    touching: list[bool] = []
    ious: list[float] = []
    changes: list[bool] = []
    growths: list[float] = []
    moves: list[float] = []
    before: np.ndarray | None = None
    for row in pair.rows():
        mask = pair.mask(row)
        pixels = np.count_nonzero(mask)
        areas.append(float(mask.mean()))
        if pixels:
            fragments.append(_count_fragments(mask))
            touching.append(bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()))
        if before is not None:
            pixels_before = np.count_nonzero(before)
            ious.append(_iou(before, mask))
            changes.append(bool(pixels_before) != bool(pixels))
            if pixels_before and pixels:
                ratio = pixels / pixels_before
                growths.append(max(ratio, 1 / ratio))
                moves.append(float(np.hypot(*(_centroid(mask) - _centroid(before))) / np.hypot(*mask.shape)))
        before = mask
    scores = _finite(pair, "score")
    visible = [area for area in areas if area]
    return dict.fromkeys(QUALITY_SIGNALS) | {
        "frames": float(len(areas)),
        "mean_score": _mean(scores),
        "lowest_score": min(scores, default=None),
        "predicted_quality": _mean(_finite(pair, "quality")),
        "margin": _mean(_finite(pair, "margin")),
        "temporal_iou": _mean(ious),
        "lowest_temporal_iou": min(ious, default=None),
        "flicker": _mean(changes),
        "area": _mean(visible),
        "area_jump": max(growths, default=None),
        "centroid_jump": max(moves, default=None),
        "fragments": _mean(fragments),
        "border": _mean(touching),
        "empty": None if not areas else 1 - len(visible) / len(areas),
    }


def paraphrase_agreement(video: Sequence[PairMasks]) -> list[float | None]:
    """For each pair of a video, return the mean agreement with other pairs of the same objects; None without any."""
    objects = [tuple(sorted(pair.row.get("object_ids") or ())) for pair in video]
    agreements: list[list[float]] = [[] for _ in video]
    for first, pair in enumerate(video):
        for second in range(first):
            if not objects[first] or objects[first] != objects[second]:
                continue
            value = agreement(pair, video[second])
            if value is not None:
                agreements[first].append(value)
                agreements[second].append(value)
    return [_mean(values) for values in agreements]


def agreement(one: PairMasks, other: PairMasks) -> float | None:
    """Return the mean IoU of two pairs over the frames that both have, 1 for two empty masks; None without any.

    Raises InputError for a broken mask.
    """
    others = {row["frame_index"]: row for row in other.rows()}
    ious = []
    for row in one.rows():
        match = others.get(row["frame_index"])
        if match is None or (row["height"], row["width"]) != (match["height"], match["width"]):
            continue
        first, second = segmentation(one, row), segmentation(other, match)
        if first is None or second is None:
            ious.append(float(first is second))
        else:
            found: Any = coco.iou([first], [second], [0])  # pyright: ignore[reportArgumentType]
            ious.append(float(found[0, 0]))
    return _mean(ious)


def _finite(pair: PairMasks, column: str) -> list[float]:
    """Return the known values of a column; predictions of other tools may hold NaN or infinity."""
    return [value for value in pair.frames[column].drop_null().to_pylist() if math.isfinite(value)]


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 0.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _count_fragments(mask: np.ndarray) -> int:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]  # labelling takes most of the time
    labels: Any = ndimage.label(cropped, EIGHT_NEIGHBOURS)
    return labels[1]


def _centroid(mask: np.ndarray) -> np.ndarray:
    """Row and column."""
    height, width = mask.shape
    return np.array([mask.sum(1) @ np.arange(height), mask.sum(0) @ np.arange(width)]) / mask.sum()
