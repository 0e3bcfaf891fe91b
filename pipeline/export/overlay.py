"""Masks to look at: OUT/VIDEO/EXPRESSION.mp4 (or .gif) and OUT/VIDEO/sheet.png with a row of frames for each pair."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from PIL import Image

from pipeline.drawing.overlay import contact_sheet, overlay
from pipeline.io import storage
from pipeline.masks.by_video import PairMasks
from pipeline.video import Selection, read_frames
from schemas.errors import InputError, MediaError

SHEET_FRAMES = 6
SHEET_WIDTH = 240  # of one frame, pixels
SHEET_ROWS = 40  # further pairs of a video are on further sheets
BOX = Image.Resampling.BOX
REASONS = 10  # videos that could not be read, named

Form = Literal["mp4", "gif"]


@dataclass(slots=True)
class Overlays:
    """What was drawn. Left out are `failed` pairs, which have no masks, and those of videos that cannot be read."""

    videos: int = 0
    pairs: int = 0
    frames: int = 0
    sheets: int = 0
    failed: int = 0
    unseen: int = 0
    reasons: list[str] = field(default_factory=list)


def write_overlays(
    videos: Iterable[list[PairMasks]], out: str, form: Form, rate: int, max_size: int, limit: int | None = None
) -> Overlays:
    """Draw the pairs (the first `limit` that have masks) at `rate` frames a second, `max_size` pixels at most a side.

    Frames pass one by one. Raises InputError for broken masks and ids that are no names.
    """
    drawn = Overlays()
    for video in videos:
        left = None if limit is None else limit - drawn.pairs
        good = [pair for pair in video if pair.frames.num_rows][:left]
        drawn.failed += sum(not pair.frames.num_rows for pair in video)
        folder = storage.join(out, storage.safe_name(video[0].video_id))
        rows = [row for pair in good if (row := _draw_pair(pair, folder, form, rate, max_size, drawn))]
        for start in range(0, len(rows), SHEET_ROWS):
            name = "sheet.png" if start == 0 else f"sheet-{start // SHEET_ROWS + 1}.png"
            _write_png(storage.join(folder, name), contact_sheet(rows[start : start + SHEET_ROWS]))
            drawn.sheets += 1
        drawn.videos += bool(rows)
        if drawn.pairs == limit:
            break
    return drawn


def _draw_pair(
    pair: PairMasks, folder: str, form: Form, rate: int, max_size: int, drawn: Overlays
) -> tuple[str, list[np.ndarray]] | None:
    """The row of the sheet; None, noted in `drawn`, if the video cannot be read."""
    uri = storage.join(folder, storage.safe_name(f"{pair.expression_id}.{form}"))
    chosen = set(np.linspace(0, pair.frames.num_rows - 1, SHEET_FRAMES).round().astype(int).tolist())
    shown: list[np.ndarray] = []

    def frames() -> Iterator[np.ndarray]:
        for number, frame in enumerate(_frames(pair, max_size)):
            if number in chosen:
                shown.append(_fit(frame, SHEET_WIDTH))
            drawn.frames += 1
            yield frame

    try:
        (_write_mp4 if form == "mp4" else _write_gif)(uri, frames(), rate)
    except MediaError as error:
        drawn.unseen += 1
        drawn.reasons += [pair.message(error)] if len(drawn.reasons) < REASONS else []
        return None
    drawn.pairs += 1
    score = pair.frames["pair_score"][0].as_py()
    scored = "" if score is None else f" ({score:.2f})"
    return f"{pair.expression_id}: {pair.row.get('expression') or ''}{scored}", shown


def _frames(pair: PairMasks, max_size: int) -> Iterator[np.ndarray]:
    """uint8 [h, w, 3], the mask drawn in."""
    rows = {row["frame_index"]: row for row in pair.rows()}
    for frame in read_frames(pair.row["video_uri"], Selection(indices=tuple(rows))):
        row = rows[frame.index]
        mask = pair.mask(row)
        if mask.shape != frame.image.shape[:2]:
            height, width = frame.image.shape[:2]
            text = f"the mask is {mask.shape[1]}x{mask.shape[0]}, the video {width}x{height}; is it another video?"
            raise InputError(pair.message(text, frame.name))
        yield _fit(overlay(frame.image, mask), max_size)


def _fit(image: np.ndarray, limit: int) -> np.ndarray:
    """Not larger than `limit` a side, sides even as video wants them."""
    height, width = image.shape[:2]
    scale = min(1.0, limit / max(height, width))
    w, h = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    return image if (h, w) == (height, width) else np.asarray(Image.fromarray(image).resize((w, h), BOX))


def _write_mp4(uri: str, frames: Iterator[np.ndarray], rate: int) -> None:
    """H.264, the same bytes each time."""
    first = next(frames)
    with storage.spool(uri) as path:
        with av.open(path, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            options = {"crf": "20", "preset": "veryfast", "threads": "1"}
            stream = container.add_stream("libx264", rate=Fraction(rate), options=options)
            stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "yuv420p"
            for frame in _all(first, frames):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        storage.commit(path, uri, replace=True)


def _write_gif(uri: str, frames: Iterator[np.ndarray], rate: int) -> None:
    """Each frame with 256 colours of its own, since a mask may appear late."""
    first = next(frames)
    with storage.spool(uri) as path:
        with av.open(path, "w", format="gif") as container:
            stream = container.add_stream("gif", rate=Fraction(rate))
            stream.height, stream.width, stream.pix_fmt = *first.shape[:2], "pal8"
            for frame in _all(first, frames):
                container.mux(stream.encode(_in_256_colours(frame)))
            container.mux(stream.encode())
        storage.commit(path, uri, replace=True)


def _in_256_colours(frame: np.ndarray) -> av.VideoFrame:
    image = Image.fromarray(frame).quantize(256, Image.Quantize.FASTOCTREE)  # median cut takes 50 times as long
    palette = np.zeros((256, 4), np.uint8)
    colours = np.reshape(image.getpalette() or [], (-1, 3))
    palette[: len(colours)] = np.pad(colours, ((0, 0), (1, 0)), constant_values=255)  # opaque: ARGB
    indexed: Any = np.asarray(image), palette  # which the types of PyAV do not know
    return av.VideoFrame.from_ndarray(indexed, format="pal8")


def _all(first: np.ndarray, rest: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    yield first
    yield from rest


def _write_png(uri: str, image: Image.Image) -> None:
    file = io.BytesIO()
    image.save(file, format="PNG")
    storage.write_bytes(uri, file.getvalue())
