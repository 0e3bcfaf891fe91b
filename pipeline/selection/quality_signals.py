"""Numbers of one pair that need no truth: how sure the model was, how steady its masks are, who agrees with them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco
from scipy import ndimage

from pipeline.export.coco_video import segmentation
from pipeline.masks.by_video import PairMasks

MEASURES = {
    "frames": "frames with a mask, empty ones too",
    "mean_score": "mean of the frame scores",
    "lowest_score": "lowest frame score",
    "margin": "score of the chosen query less that of the best other one, mean over the frames' windows",
    "temporal_iou": "IoU of the masks of neighbouring frames, mean",
    "lowest_temporal_iou": "IoU of the masks of neighbouring frames, lowest",
    "flicker": "share of steps between frames at which the mask appears or vanishes",
    "area": "share of the frame that the mask covers, mean over frames where there is one",
    "area_jump": "largest growth or shrinkage between neighbouring frames, as a factor of 1 or more",
    "centroid_jump": "largest move of the centroid between neighbouring frames, in frame diagonals",
    "fragments": "connected pieces of the mask (8 neighbours), mean over frames where there is one",
    "border": "share of the frames with a mask in which it touches the border of the frame",
    "empty": "share of frames without a pixel",
    "repeats": "earlier expressions of the video in the same words, case, punctuation and articles aside",
    "video_repeats": "earlier videos that look the same; measured only if a rule names it, since every video is opened",
    "paraphrases": "mean IoU with the other expressions of the same object",
    "other_run": "mean IoU with the same pair of the other run",
}
SCHEMA = pa.schema([pa.field(name, pa.float64()) for name in MEASURES])
EIGHT = np.ones((3, 3), bool)


@dataclass(slots=True)
class _Steps:
    """What is gathered frame by frame; of the masks only the last one is held."""

    areas: list[float] = field(default_factory=list)
    pieces: list[int] = field(default_factory=list)
    touching: list[bool] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    growths: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    changes: list[bool] = field(default_factory=list)

    def add(self, before: np.ndarray | None, mask: np.ndarray) -> None:
        there = bool(mask.any())
        self.areas.append(float(mask.mean()))
        if there:
            labels: Any = ndimage.label(_crop(mask), EIGHT)
            self.pieces.append(labels[1])
            self.touching.append(bool(mask[[0, -1]].any() or mask[:, [0, -1]].any()))
        if before is None:
            return
        was = bool(before.any())
        self.changes.append(was != there)
        self.ious.append(_iou(before, mask))
        if was and there:
            ratio = mask.sum() / before.sum()
            self.growths.append(float(max(ratio, 1 / ratio)))
            self.moves.append(float(np.hypot(*(_centroid(mask) - _centroid(before))) / np.hypot(*mask.shape)))


def measure(pair: PairMasks) -> dict[str, float | None]:
    """MEASURES of one pair by itself, None where one has no meaning. Raises InputError for a broken mask."""
    steps = _Steps()
    before = None
    for mask in _masks(pair):
        steps.add(before, mask)
        before = mask
    scores = _known(pair, "score")
    visible = [area for area in steps.areas if area]
    return {
        "frames": float(len(steps.areas)),
        "mean_score": _mean(scores),
        "lowest_score": min(scores, default=None),
        "margin": _mean(_known(pair, "margin")),
        "temporal_iou": _mean(steps.ious),
        "lowest_temporal_iou": min(steps.ious, default=None),
        "flicker": _mean(steps.changes),
        "area": _mean(visible),
        "area_jump": max(steps.growths, default=None),
        "centroid_jump": max(steps.moves, default=None),
        "fragments": _mean(steps.pieces),
        "border": _mean(steps.touching),
        "empty": None if not steps.areas else 1 - len(visible) / len(steps.areas),
        "repeats": None,
        "video_repeats": None,
        "paraphrases": None,
        "other_run": None,
    }


def paraphrase_agreement(video: Sequence[PairMasks]) -> list[float | None]:
    """For each pair of a video, the mean agreement with the others that mean the same objects; None without any."""
    found: list[list[float]] = [[] for _ in video]
    for first, pair in enumerate(video):
        for second in range(first):
            if not _objects(pair) or _objects(pair) != _objects(video[second]):
                continue
            value = agreement(pair, video[second])
            if value is not None:
                found[first].append(value)
                found[second].append(value)
    return [_mean(values) for values in found]


def agreement(one: PairMasks, other: PairMasks) -> float | None:
    """Mean IoU of two pairs' masks over the frames that both have, two empty masks agreeing; None without any.

    Raises InputError for a broken mask.
    """
    others = {row["frame_index"]: row for row in other.rows()}
    ious = []
    for row in one.rows():
        beside = others.get(row["frame_index"])
        if beside is not None and (row["height"], row["width"]) == (beside["height"], beside["width"]):
            ious.append(_rle_iou(segmentation(one, row), segmentation(other, beside)))
    return _mean(ious)


def _known(pair: PairMasks, column: str) -> list[float]:
    """What others wrote may be NaN or infinite, of which nothing follows."""
    return [value for value in pair.frames[column].drop_null().to_pylist() if math.isfinite(value)]


def _masks(pair: PairMasks) -> Iterator[np.ndarray]:
    for row in pair.rows():
        yield pair.mask(row)


def _objects(pair: PairMasks) -> tuple[str, ...]:
    return tuple(sorted(pair.row.get("object_ids") or ()))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return 0.0
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def _rle_iou(one: dict | None, other: dict | None) -> float:
    """Of masks of one size; None is an empty one."""
    if one is None or other is None:
        return float(one is other)
    ious: Any = coco.iou([one], [other], [0])  # pyright: ignore[reportArgumentType]
    return float(ious[0, 0])


def _crop(mask: np.ndarray) -> np.ndarray:
    """To the bounding box."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _centroid(mask: np.ndarray) -> np.ndarray:
    """Row and column."""
    height, width = mask.shape
    return np.array([mask.sum(1) @ np.arange(height), mask.sum(0) @ np.arange(width)]) / mask.sum()
