"""Draw the masks of a small run: a sheet with some frames of each pair, and a film with all of them."""

import io
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa

from pipeline.drawing.captions import caption_of
from pipeline.drawing.film_times import timed
from pipeline.drawing.overlay import contact_sheet, overlay, shrunk
from pipeline.drawing.write_video import Shown, write_film
from pipeline.io import parquet, storage
from pipeline.runs.run import Run
from pipeline.video import Selection, read_frames
from schemas import rle

FRAMES_ON_SHEET = 5  # of each pair
MIN_HEIGHT = 240  # smaller frames are enlarged by a whole factor
SHEET_WIDTH = 360  # of one frame on the sheet, pixels

RowsByFrame = dict[tuple[str, str, int], dict]  # by video_id, expression_id or object_id, and frame_index


def draw_run(
    run: str,
    annotations: str | None,
    picture: str,
    film: str,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Draw the first pair of each `kind` of sentence (without kinds: each pair) to a PNG and an MP4.

    `annotations` adds the outline of the truth. Masks are read whole, so this is for small runs; frames pass one by
    one. Writes nothing, and returns False, if no pair has a mask. `on_progress` takes the number of frames drawn, and
    that of all.
    """
    folder = storage.join(run, "masks")
    masks = pa.concat_tables(parquet.read_table(storage.join(folder, name)) for name in storage.names(folder))
    predicted = _by_frame(masks, "expression_id")
    truth = {} if annotations is None else _by_frame(parquet.read_table(annotations), "object_id")
    manifest = Run.open(run).manifest().to_pylist()
    kinds = [pair.get("kind") or (pair["video_id"], pair["expression_id"]) for pair in manifest]
    pairs = list(dict(zip(reversed(kinds), reversed(manifest), strict=True)).values())[::-1]
    indices = [sorted(index for *key, index in predicted if key == _key(pair)) for pair in pairs]
    drawn = [(pair, frames) for pair, frames in zip(pairs, indices, strict=True) if frames]
    if not drawn:
        return False
    rows: list[tuple[str, list[np.ndarray]]] = []  # of the sheet, filled while the film is written
    total = sum(len(frames) for _, frames in drawn)
    write_film(film, _counted(_film(drawn, predicted, truth, rows), total, on_progress), "mp4")
    buffer = io.BytesIO()
    contact_sheet(rows).save(buffer, "PNG")
    storage.write_bytes(picture, buffer.getvalue())
    return True


def _film(
    drawn: list[tuple[dict, list[int]]],
    predicted: RowsByFrame,
    truth: RowsByFrame,
    rows: list[tuple[str, list[np.ndarray]]],
) -> Iterator[Shown]:
    """Yield the frames of the film one by one, and append those of the sheet to `rows`."""
    sentences = Counter((pair["video_id"], pair["expression"]) for pair, _ in drawn)
    for pair, indices in drawn:
        video, sentence = pair["video_id"], pair["expression"]
        is_one_of_several = sentences[video, sentence] > 1
        caption = caption_of(f"{video} {pair['expression_id']}" if is_one_of_several else video, sentence or "")
        rows.append((caption, []))
        on_sheet = _evenly(len(indices))
        for number, (frame, seconds) in enumerate(_draw_pair(pair, indices, predicted, truth)):
            if number in on_sheet:
                rows[-1][1].append(shrunk(frame, SHEET_WIDTH))
            yield Shown(np.asarray(contact_sheet([(caption, [frame])])), seconds)


def _counted(frames: Iterator[Shown], total: int, on_progress: Callable[[int, int], None]) -> Iterator[Shown]:
    for number, frame in enumerate(frames):
        on_progress(number, total)
        yield frame


def _evenly(frames: int) -> list[int]:
    return np.linspace(0, frames - 1, min(frames, FRAMES_ON_SHEET)).astype(int).tolist()


def _key(pair: dict) -> list[str]:
    return [pair["video_id"], pair["expression_id"]]


def _by_frame(table: pa.Table, key: str) -> RowsByFrame:
    return {(row["video_id"], row[key], row["frame_index"]): row for row in table.to_pylist() if row["counts"]}


def _draw_pair(pair: dict, indices: list[int], predicted: RowsByFrame, truth: RowsByFrame) -> Iterator[Shown]:
    """Yield the frames `indices` with the masks drawn on them."""
    video, expression, target = *_key(pair), (pair.get("object_ids") or [""])[0]
    for frame, seconds in timed(read_frames(pair["video_uri"], Selection(indices=tuple(indices)))):
        rows = (predicted.get((video, expression, frame.index)), truth.get((video, target, frame.index)))
        masks = [rle.decode(row["counts"], row["height"], row["width"]) if row else None for row in rows]
        factor = max(1, MIN_HEIGHT // len(frame.image))
        large = [None if each is None else each.repeat(factor, 0).repeat(factor, 1) for each in (frame.image, *masks)]
        yield Shown(overlay(*large), seconds)  # pyright: ignore[reportArgumentType] - the image is there
