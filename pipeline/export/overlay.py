"""Videos of masks, OUT/VIDEO/EXPRESSION.mp4 (or .gif), and OUT/VIDEO/sheet.png with a row of frames for each pair."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Literal

import numpy as np

from pipeline.drawing.captions import caption_of
from pipeline.drawing.film_times import timed
from pipeline.drawing.overlay import contact_sheet, overlay, shrunk
from pipeline.drawing.write_video import Shown, write_film
from pipeline.export.exported import UNREADABLE_NOTED, Exported
from pipeline.io import storage
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.masks.write_png import png_bytes
from pipeline.video import Selection, read_frames
from schemas.advice import outside_a_run
from schemas.errors import InputError, MediaError

SHEET_FRAMES = 6
SHEET_WIDTH = 240  # of one frame, pixels
SHEET_ROWS = 40  # further pairs of a video are on further sheets


def write_overlays(
    source: MaskSource,
    out: str,
    *,
    form: Literal["mp4", "gif"] = "mp4",
    fps: int | None = None,
    max_size: int = 640,
    limit: int | None = None,
) -> Exported:
    """Draw the pairs (the first `limit` that have masks) as videos whose longer side has at most `max_size` pixels.

    `fps`: frames per second; None: each frame as long as in the video.
    Frames pass one by one. `source` must have a manifest. Raises InputError for broken masks, masks of another size
    than the video, and ids that cannot be file names.
    """
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "frames", "sheets", "failed", "unseen"), 0)
    notes: list[str] = []
    for video in source.videos():
        left = None if limit is None else limit - counts["pairs"]
        counts["failed"] += sum(not pair.frames.num_rows for pair in video)
        folder = storage.join(out, storage.safe_name(video[0].video_id))
        rows: list[tuple[str, list[np.ndarray]]] = []
        for pair in [pair for pair in video if pair.frames.num_rows][:left]:
            uri = storage.join(folder, storage.safe_name(f"{pair.expression_id}.{form}"))
            sheet_frames: list[np.ndarray] = []
            try:
                write_film(uri, _draw(pair, fps, max_size, counts, sheet_frames), form, crf=20)
            except MediaError as error:
                counts["unseen"] += 1
                notes += [pair.message(outside_a_run(str(error)))] if len(notes) < UNREADABLE_NOTED else []
                continue
            counts["pairs"] += 1
            score = pair.frames["pair_score"][0].as_py()
            suffix = "" if score is None else f" ({score:.2f})"
            rows.append((caption_of(pair.expression_id, pair.row.get("expression") or "", suffix), sheet_frames))
        for start in range(0, len(rows), SHEET_ROWS):
            name = "sheet.png" if start == 0 else f"sheet-{start // SHEET_ROWS + 1}.png"
            sheet = contact_sheet(rows[start : start + SHEET_ROWS])
            storage.write_bytes(storage.join(folder, name), png_bytes(sheet))
            counts["sheets"] += 1
        counts["videos"] += bool(rows)
        if counts["pairs"] == limit:
            break
    return Exported(counts, notes)


def _draw(
    pair: PairMasks, fps: int | None, max_size: int, counts: dict[str, int], sheet_frames: list[np.ndarray]
) -> Iterator[Shown]:
    """Yield the frames with their masks; count them, and add some to `sheet_frames`."""
    rows = {row["frame_index"]: row for row in pair.rows()}
    on_sheet = set(np.linspace(0, len(rows) - 1, SHEET_FRAMES).round().astype(int).tolist())
    frames = read_frames(pair.row["video_uri"], Selection(indices=tuple(rows)))
    for number, (frame, seconds) in enumerate(timed(frames)):
        mask = pair.mask(rows[frame.index])
        height, width = frame.image.shape[:2]
        if mask.shape != (height, width):
            text = f"the mask is {mask.shape[1]}x{mask.shape[0]}, the video {width}x{height}; is it another video?"
            raise InputError(pair.message(text, frame.name))
        drawn = shrunk(overlay(frame.image, mask), max_size)
        if number in on_sheet:
            sheet_frames.append(shrunk(drawn, SHEET_WIDTH))
        counts["frames"] += 1
        yield Shown(drawn, Fraction(1, fps) if fps else seconds)
