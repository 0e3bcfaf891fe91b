"""Segment one unit: decode ahead, run the model, encode, spool, commit. No Ray in here."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import pyarrow as pa

from model.segmenter import Segmenter
from pipeline.clips import Clip, ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.prefetch import prefetch
from pipeline.runs.attempts import Rung
from pipeline.runs.units import Earlier, Receipt, UnitWriter
from pipeline.spool import FrameSpool
from pipeline.windows import PairState, WindowSegmenter
from schemas.errors import pair_message
from schemas.manifest import MAX_TOKENS
from schemas.masks import PREDICTIONS

WINDOWS_AHEAD = 1  # besides the one that is being decoded and the one that is being segmented

Guard = Callable[[list[dict]], AbstractContextManager]


@dataclass(frozen=True, slots=True)
class UnitJob:
    """What is to be done for one unit, and where it goes.

    `rows` are the plan rows to segment: all of the unit, or those that are done again where `earlier` is the object to
    be replaced. `guard` surrounds the work on rows that are done together: all, or one by one, as `rung` says.
    """

    uri: str
    rows: list[dict]
    guard: Guard = lambda rows: nullcontext()
    rung: Rung = field(default_factory=lambda: Rung(alone=False))
    earlier: Earlier | None = None


def segment_unit(job: UnitJob, receipt: Receipt, segmenter: Segmenter, options: FrameOptions) -> Receipt:
    """Make and commit the object of one unit: every plan row ends as masks or as one error row.

    Returns the receipt of what lies at `job.uri`, which is another attempt's if that was first.
    """
    clips, bad = split_rows(job.rows, options.frame_step)
    with UnitWriter(job.uri, receipt, job.earlier) as writer:
        for row, problem in bad:
            writer.write(error_row(row, "bad_row", problem))
        for together in _apart(clips, job.rung, writer) if job.rung.alone else [clips] if clips else []:
            with job.guard([row for clip in together for row in clip.pairs]):
                _write_clips(together, writer, segmenter, options)
        started = time.perf_counter()
        written = writer.commit()
        written.seconds["write"] += time.perf_counter() - started
        return written


def error_row(row: dict, status: str, text: str) -> pa.Table:
    """The one row (PREDICTIONS) of a pair that failed."""
    ids = {name: row[name] for name in ("video_id", "expression_id")}
    error = {"status": status, "error": pair_message(row["video_id"], row["expression_id"], text)}
    return pa.Table.from_pylist([ids | error], schema=PREDICTIONS)


def pair_rows(rows: pa.Table, row: dict, pair_score: float) -> pa.Table:
    """Rows of one pair as they were spooled (FRAME_ROWS), with what they have in common (PREDICTIONS)."""
    common = {
        "video_id": row["video_id"],
        "expression_id": row["expression_id"],
        "pair_score": pair_score,
        "status": "ok",
        "error": None,
    }
    columns = {name: rows[name] for name in rows.column_names}
    for name, value in common.items():
        columns[name] = pa.repeat(pa.scalar(value, PREDICTIONS.field(name).type), rows.num_rows)
    return pa.table([columns[name] for name in PREDICTIONS.names], schema=PREDICTIONS)


def _apart(clips: list[Clip], rung: Rung, writer: UnitWriter) -> Iterator[list[Clip]]:
    """Each pair as a clip of its own; those given up become their error row instead."""
    for clip in clips:
        for row in clip.pairs:
            failure = rung.given_up.get((row["video_id"], row["expression_id"]))
            if failure:
                writer.write(error_row(row, *failure))
            else:
                yield [replace(clip, pairs=[row])]


def _write_clips(clips: list[Clip], writer: UnitWriter, segmenter: Segmenter, options: FrameOptions) -> None:
    seconds = writer.receipt.seconds
    windows = WindowSegmenter(segmenter, seconds, reduce_window=options.reduce_window)
    ahead = prefetch(read_windows(clips, options, segmenter.prepare), WINDOWS_AHEAD)
    for events in _by_clip(ahead):
        with FrameSpool() as spool:
            pairs = _segment_clip(events, windows, spool)
            started = time.perf_counter()
            spool.close()
            for number, pair in enumerate(pairs):
                if pair.failure:
                    writer.write(error_row(pair.row, *pair.failure))
                else:
                    for rows in spool.read(number):
                        writer.write(pair_rows(rows, pair.row, pair.mean_score))
            seconds["write"] += time.perf_counter() - started


def _by_clip(events: Iterable[Window | ClipEnd]) -> Iterator[Iterator[Window | ClipEnd]]:
    """The events of each clip, its ClipEnd the last."""
    events = iter(events)

    def of_one(first: Window | ClipEnd) -> Iterator[Window | ClipEnd]:
        yield first
        while not isinstance(first, ClipEnd):
            first = next(events)
            yield first

    for event in events:
        yield of_one(event)


def _segment_clip(events: Iterator[Window | ClipEnd], windows: WindowSegmenter, spool: FrameSpool) -> list[PairState]:
    """Spool the rows of all pairs of a clip; returns what became of each."""
    pairs: list[PairState] = []
    for event in events:
        windows.seconds["decode"] += event.seconds
        if not pairs:
            too_many = [_too_many_tokens(row, windows.segmenter) for row in event.clip.pairs]
            rows = zip(event.clip.pairs, too_many, strict=True)
            pairs = [PairState(number, row, failure) for number, (row, failure) in enumerate(rows)]
        if isinstance(event, Window):
            windows.segment(event, pairs, spool)
        else:
            for pair in pairs:
                pair.failure = pair.failure or _failure(event, pair)
    return pairs


def _failure(end: ClipEnd, pair: PairState) -> tuple[str, str] | None:
    if end.error:
        return end.error.status, str(end.error)
    if not pair.frames:
        return "missing", f"no frame to output was read ({end.clip.uri})"
    return None


def _too_many_tokens(row: dict, segmenter: Segmenter) -> tuple[str, str] | None:
    count = segmenter.count_tokens(row["expression"])
    if count > MAX_TOKENS:
        return "bad_row", f"the expression has {count} tokens, at most {MAX_TOKENS} fit; shorten it"
    return None
