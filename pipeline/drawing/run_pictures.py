"""Draw the masks of a small run: a sheet with some frames of each pair, and a film with all of them."""

import io
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.drawing.captions import caption_of
from pipeline.drawing.overlay import contact_sheet, overlay, shrunk
from pipeline.drawing.write_video import source_rate, write_mp4
from pipeline.io import parquet, storage
from pipeline.runs.run import Run
from pipeline.video import Selection, read_frames
from schemas import rle

FRAMES_ON_SHEET = 5  # of each pair
MAX_FRAMES = 300  # drawn of one pair
MIN_HEIGHT = 240  # smaller frames are enlarged by a whole factor
SHEET_WIDTH = 360  # of one frame on the sheet, pixels

RowsByFrame = dict[tuple[str, str, int], dict]  # by video_id, expression_id or object_id, and frame_index


def draw_run(run: str, annotations: str | None, picture: str, film: str) -> bool:
    """Draw the first pair of each `kind` of sentence (without kinds: each pair) to a PNG and an MP4.

    `annotations` adds the outline of the truth. Masks are read whole, so this is for small runs. Writes nothing, and
    returns False, if no pair has a mask.
    """
    folder = storage.join(run, "masks")
    masks = pa.concat_tables(parquet.read_table(storage.join(folder, name)) for name in storage.names(folder))
    predicted = _by_frame(masks, "expression_id")
    truth = {} if annotations is None else _by_frame(parquet.read_table(annotations), "object_id")
    manifest = Run.open(run).manifest().to_pylist()
    kinds = [pair.get("kind") or (pair["video_id"], pair["expression_id"]) for pair in manifest]
    pairs = list(dict(zip(reversed(kinds), reversed(manifest), strict=True)).values())[::-1]
    captions = [caption_of(pair["video_id"], pair["expression"] or "") for pair in pairs]
    drawn = [(caption, list(_draw_pair(pair, predicted, truth))) for caption, pair in zip(captions, pairs, strict=True)]
    drawn = [(caption, frames) for caption, frames in drawn if frames]
    if not drawn:
        return False
    sheet = contact_sheet(
        [(caption, [shrunk(frames[i], SHEET_WIDTH) for i in _evenly(len(frames))]) for caption, frames in drawn]
    )
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    storage.write_bytes(picture, buffer.getvalue())
    sheets = (np.asarray(contact_sheet([(caption, [frame])])) for caption, frames in drawn for frame in frames)
    rate = source_rate(pairs[0]["video_uri"], sorted({index for *_, index in predicted}))
    write_mp4(film, (sheet[: len(sheet) // 2 * 2, : sheet.shape[1] // 2 * 2] for sheet in sheets), rate)
    return True


def _evenly(frames: int) -> list[int]:
    return np.linspace(0, frames - 1, min(frames, FRAMES_ON_SHEET)).astype(int).tolist()


def _by_frame(table: pa.Table, key: str) -> RowsByFrame:
    return {(row["video_id"], row[key], row["frame_index"]): row for row in table.to_pylist() if row["counts"]}


def _draw_pair(pair: dict, predicted: RowsByFrame, truth: RowsByFrame) -> Iterator[np.ndarray]:
    """Frames with a prediction, uint8 [H, W, 3], with the masks drawn on them."""
    video, expression, target = pair["video_id"], pair["expression_id"], (pair.get("object_ids") or [""])[0]
    indices = sorted(index for *key, index in predicted if key == [video, expression])[:MAX_FRAMES]
    if not indices:
        return
    for frame in read_frames(pair["video_uri"], Selection(indices=tuple(indices))):
        rows = (predicted.get((video, expression, frame.index)), truth.get((video, target, frame.index)))
        masks = [rle.decode(row["counts"], row["height"], row["width"]) if row else None for row in rows]
        drawn = overlay(frame.image, *masks)
        factor = max(1, MIN_HEIGHT // len(drawn))
        yield drawn.repeat(factor, axis=0).repeat(factor, axis=1)
