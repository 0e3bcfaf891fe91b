"""Strips of frames for pages: a few frames of one pair, small, with its masks drawn on them, as JPEGs in the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.drawing.overlay import overlay
from pipeline.drawing.thumbnails import blank_frame, data_uri, shrink, shrink_mask
from pipeline.masks.by_video import PairMasks
from pipeline.video import Selection, read_frames
from schemas.advice import outside_a_run
from schemas.errors import MediaError

STRIP_FRAMES = 6

Label = str | int  # name or index of a frame


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """One frame with its masks. `lowest`: no frame of the pair has a lower J, also among those that are not shown."""

    image: str  # data URI
    width: int
    height: int
    label: str
    figures: tuple[str, ...] = ()  # its scores
    lowest: bool = False


@dataclass(frozen=True, slots=True)
class FrameStrip:
    """Some frames of one pair, in order. `note` gives the reason if the frames of its video are not shown."""

    expression: str
    thumbnails: Sequence[Thumbnail]
    note: str = ""


def pair_strip(pair: PairMasks) -> FrameStrip:
    """Draw frames evenly spread over those that have masks, with the score of each.

    If the video cannot be read, the masks are drawn on a plain ground. Raises InputError for a broken mask.
    """
    rows = pair.rows()
    chosen = [rows[n] for n in spread(len(rows), STRIP_FRAMES)]
    places = {row["frame_index"]: (row["frame_index"], None) for row in chosen}
    images, note = read_thumbnails(pair.row.get("video_uri"), places, "--manifest")
    thumbnails = []
    for row in chosen:
        image = images.get(row["frame_index"])
        if image is None:
            image = blank_frame(row["height"], row["width"])
        figures = () if row["score"] is None else (f"score {row['score']:.3f}",)
        predicted = shrink_mask(pair.mask(row), image)
        thumbnails.append(draw_thumbnail(image, predicted, None, row["frame_name"], figures))
    return FrameStrip(pair.row.get("expression") or "", thumbnails, note)


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` positions, evenly spread over `count`, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).astype(int)).tolist()


def read_thumbnails(
    uri: str | None, places: Mapping[Label, tuple[int, str | None]], options: str
) -> tuple[dict[Label, np.ndarray], str]:
    """Read small frames, uint8 [h, w, 3], by label, and return the reason if there are none.

    places: index and name in the video by label; names are used if all are known. options: how to locate the video.
    """
    if uri is None:
        return {}, f"The location of its video is unknown; show its frames with {options}."
    by_name = bool(places) and all(name for _, name in places.values())
    labels = {(name if by_name else index): label for label, (index, name) in places.items()}
    selected = tuple(sorted(labels))  # pyright: ignore[reportArgumentType]
    selection = Selection(names=selected) if by_name else Selection(indices=selected)  # pyright: ignore[reportArgumentType]
    try:
        frames = read_frames(uri, selection)
        return {labels[frame.name if by_name else frame.index]: shrink(frame.image) for frame in frames}, ""
    except MediaError as error:
        return {}, f"Its video cannot be shown: {outside_a_run(str(error))}"


def draw_thumbnail(
    image: np.ndarray,
    predicted: np.ndarray | None,
    truth: np.ndarray | None,
    label: Label,
    figures: tuple[str, ...],
    *,
    lowest: bool = False,
) -> Thumbnail:
    """Draw masks, bool [h, w], on a small frame, uint8 [h, w, 3]."""
    height, width = image.shape[:2]
    return Thumbnail(data_uri(overlay(image, predicted, truth)), width, height, str(label), figures, lowest)
