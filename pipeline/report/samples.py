"""Frames of a few pairs without truth, their masks drawn on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drawing.overlay import overlay
from pipeline.drawing.thumbnails import data_uri, plain, small, small_mask
from pipeline.masks.by_video import PairMasks
from pipeline.video import Selection, read_frames
from schemas.errors import MediaError

FRAMES = 6  # of one pair


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame."""

    image: str  # data URI
    width: int
    height: int
    label: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """Some frames of one pair, in order. `note` says why they lack the picture."""

    expression: str
    shots: Sequence[Shot]
    note: str = ""


def sample(pair: PairMasks) -> Sample:
    """Frames evenly spread over those that have masks; of a video that cannot be read, the masks alone.

    Raises InputError for a broken mask.
    """
    rows = pair.rows()
    chosen = [rows[n] for n in np.unique(np.linspace(0, len(rows) - 1, min(FRAMES, len(rows))).astype(int))]
    images, note = _images(pair, [row["frame_index"] for row in chosen])
    return Sample(pair.row.get("expression") or "", [_shot(pair, row, images) for row in chosen], note)


def _shot(pair: PairMasks, row: dict, images: dict[int, np.ndarray]) -> Shot:
    image = images.get(row["frame_index"])
    if image is None:
        image = plain(row["height"], row["width"])
    drawn = overlay(image, small_mask(pair.mask(row), image))
    return Shot(data_uri(drawn), image.shape[1], image.shape[0], row["frame_name"], row["score"])


def _images(pair: PairMasks, indices: Sequence[int]) -> tuple[dict[int, np.ndarray], str]:
    """Small pictures by frame index, and why there are none."""
    uri = pair.row.get("video_uri")
    if uri is None:
        return {}, "Where its video is, is not known; give --manifest to see frames."
    try:
        return {frame.index: small(frame.image) for frame in read_frames(uri, Selection(indices=tuple(indices)))}, ""
    except MediaError as error:
        return {}, f"Its video cannot be shown: {error}"
