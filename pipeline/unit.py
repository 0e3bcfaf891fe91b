"""Segment one unit: decode ahead, run the model, encode, write, commit. No Ray in here."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import torch

from model.segmenter import Segmentation, Segmenter
from pipeline.clips import Clip, ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.prefetch import prefetch
from pipeline.runs.attempts import Rung
from pipeline.runs.units import Receipt, UnitWriter
from schemas import rle
from schemas.errors import pair_message
from schemas.manifest import MAX_TOKENS
from schemas.masks import PREDICTIONS

WHOLE = Rung(alone=False)
NOT_FINITE = "the model's output is not finite; check the checkpoint, or use another --window"
WINDOWS_AHEAD = 1  # besides the one that is being decoded and the one that is being segmented


@dataclass(slots=True)
class PairRows:
    """The rows of one pair, gathered window by window."""

    row: dict
    columns: dict[str, list] = field(default_factory=lambda: {name: [] for name in PREDICTIONS.names})
    failure: tuple[str, str] | None = None  # status, text

    def add(self, window: Window, kept: list[int], found: Segmentation, counts: list[bytes]) -> None:
        columns, (height, width) = self.columns, window.size
        columns["frame_index"] += [window.indices[i] for i in kept]
        columns["frame_name"] += [window.names[i] for i in kept]
        columns["height"] += [height] * len(kept)
        columns["width"] += [width] * len(kept)
        columns["counts"] += counts
        columns["score"] += found.scores.tolist()
        columns["box"] += found.boxes.tolist()
        columns["query"] += [found.query] * len(kept)

    def table(self) -> pa.Table:
        """All rows of the pair (PREDICTIONS): one per frame, or the one error row."""
        if self.failure:
            status, text = self.failure
            error = {"status": status, "error": pair_message(self.row["video_id"], self.row["expression_id"], text)}
            return pa.Table.from_pylist([self._ids() | error], schema=PREDICTIONS)
        columns = dict(self.columns)
        count = len(columns["counts"])
        columns |= {name: [value] * count for name, value in self._ids().items()}
        columns["pair_score"] = [float(np.mean(columns["score"]))] * count
        columns["status"] = ["ok"] * count
        columns["error"] = [None] * count
        return pa.table(columns, schema=PREDICTIONS)

    def _ids(self) -> dict:
        return {"video_id": self.row["video_id"], "expression_id": self.row["expression_id"]}


def segment_unit(
    uri: str,
    receipt: Receipt,
    rows: list[dict],
    segmenter: Segmenter,
    options: FrameOptions,
    guard: Callable[[list[dict]], AbstractContextManager] = lambda rows: nullcontext(),
    rung: Rung = WHOLE,
) -> Receipt:
    """Make and commit the object of one unit at `uri`: every plan row ends as masks or as one error row.

    `guard` surrounds the work on those rows that are done together: all, or one by one, as `rung` says. Returns the
    receipt of what lies at `uri`, which is another attempt's if that was first.
    """
    clips, bad = split_rows(rows, options.frame_step)
    with UnitWriter(uri, receipt) as writer:
        for row, problem in bad:
            writer.write(PairRows(row, failure=("bad_row", problem)).table())
        for together in _apart(clips, rung, writer) if rung.alone else [clips] if clips else []:
            with guard([row for clip in together for row in clip.pairs]):
                _write_clips(together, writer, segmenter, options)
        started = time.perf_counter()
        written = writer.commit()
        written.seconds["write"] += time.perf_counter() - started
        return written


def _apart(clips: list[Clip], rung: Rung, writer: UnitWriter) -> Iterator[list[Clip]]:
    """Each pair as a clip of its own; those given up become their error row instead."""
    for clip in clips:
        for row in clip.pairs:
            failure = rung.given_up.get((row["video_id"], row["expression_id"]))
            if failure:
                writer.write(PairRows(row, failure=failure).table())
            else:
                yield [replace(clip, pairs=[row])]


def _write_clips(clips: list[Clip], writer: UnitWriter, segmenter: Segmenter, options: FrameOptions) -> None:
    seconds = writer.receipt.seconds
    ahead = prefetch(read_windows(clips, options, segmenter.prepare), WINDOWS_AHEAD)
    for pairs in _segment_clips(ahead, segmenter, seconds):
        started = time.perf_counter()
        for pair in pairs:
            writer.write(pair.table())
        seconds["write"] += time.perf_counter() - started


def _segment_clips(
    events: Iterable[Window | ClipEnd], segmenter: Segmenter, seconds: dict[str, float]
) -> Iterator[list[PairRows]]:
    """For each clip, when its last window is through, all its pairs."""
    pairs: list[PairRows] = []
    clip: Clip | None = None
    for event in events:
        seconds["decode"] += event.seconds
        if event.clip is not clip:
            clip = event.clip
            pairs = [PairRows(row, failure=_too_many_tokens(row, segmenter)) for row in clip.pairs]
        if isinstance(event, Window):
            _segment_window(event, pairs, segmenter, seconds)
        else:
            for pair in pairs:
                pair.failure = pair.failure or _failure(event, pair)
            yield pairs


def _segment_window(window: Window, pairs: list[PairRows], segmenter: Segmenter, seconds: dict[str, float]) -> None:
    """One model call for all pairs that want the same frames of the window; what goes wrong stays with its pair."""
    wanted: dict[tuple[int, ...], list[PairRows]] = {}
    for pair, targets in zip(pairs, window.clip.targets, strict=True):
        kept = tuple(i for i, name in enumerate(window.names) if targets is None or name in targets)
        if kept and not pair.failure:
            wanted.setdefault(kept, []).append(pair)
    for kept, group in wanted.items():
        keep = None if len(kept) == len(window.frames) else list(kept)
        expressions = [pair.row["expression"] for pair in group]
        started = time.perf_counter()
        try:
            for pair, found in zip(
                group, segmenter.segment(window.frames, window.size, expressions, keep), strict=True
            ):
                masks_ready = time.perf_counter()
                seconds["model"] += masks_ready - started
                if found.finite:
                    pair.add(window, list(kept), found, rle.encode(found.masks))
                else:
                    pair.failure = ("nan", f"frames {window.names[0]} to {window.names[-1]}: {NOT_FINITE}")
                started = time.perf_counter()
                seconds["encode"] += started - masks_ready
        except (torch.OutOfMemoryError, MemoryError) as error:
            _fail_all(group, window, error)


def _fail_all(group: list[PairRows], window: Window, error: Exception) -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    reason = str(error).partition("\n")[0]
    text = (
        f"out of memory on a window of {len(window.frames)} frames ({reason}); use a smaller --window or --short-side"
    )
    for pair in group:
        pair.failure = ("oom", text)


def _failure(end: ClipEnd, pair: PairRows) -> tuple[str, str] | None:
    if end.error:
        return end.error.status, str(end.error)
    if not pair.columns["counts"]:
        return "missing", f"no frame to output was read ({end.clip.uri})"
    return None


def _too_many_tokens(row: dict, segmenter: Segmenter) -> tuple[str, str] | None:
    count = segmenter.count_tokens(row["expression"])
    if count > MAX_TOKENS:
        return "bad_row", f"the expression has {count} tokens, at most {MAX_TOKENS} fit; shorten it"
    return None
