"""Third thread of the chain: encode the masks of each unit, spool them on local disk, commit the unit's object."""

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass

import pyarrow as pa

from model.segmenter import Segmentation
from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.commit import Receipt, UnitWriter
from pipeline.segment.clips import Window
from pipeline.segment.events import (
    Answer,
    AttemptEnd,
    ClipDone,
    ModelEvent,
    UnitDone,
    UnitStart,
    share_failures,
)
from pipeline.segment.spool import FrameSpool
from schemas import rle
from schemas.advice import for_refined
from schemas.errors import InfrastructureError, ProcessError, RvosError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from schemas.shown import without_secrets


@dataclass(frozen=True, slots=True)
class Postponed:
    """A unit that is not committed, since another node, or this one later, may do better."""

    statuses: frozenset[str]  # of the pairs that failed here
    frames: int  # with masks that this process made


def write_unit(
    start: UnitStart, events: Generator[ModelEvent, None, None], tracker: AttemptTracker
) -> Receipt | Postponed:
    """Write and commit one unit from its events up to UnitDone. Returns the receipt of the object at its URI.

    A unit with a pair that fails with one of `job.moves_with` is not committed. Raises ProcessError for an unexpected
    error, which then counts against the unit.
    """
    job, statuses = start.job, set[str]()
    receipt = Receipt(job.unit_id, job.fingerprint, run_id=job.run_id, made_with=job.made_with)
    receipt.failed_before = dict(Counter(status for _, status, _ in job.refused))
    with _counted(job.unit_id, tracker), UnitWriter(job.uri, receipt, job.replaced, job.otherwise) as writer:
        for row, status, error in start.failed:
            writer.write(error_row(row, status, error))
        for event in events:
            match event:
                case Answer() | ClipDone():
                    statuses |= _write_clip(event, events, writer, is_refined=bool(job.sources))
                case AttemptEnd(attempt):
                    tracker.end(attempt)
                case UnitDone(timings, stats):
                    receipt.seconds |= asdict(timings)
                    receipt.parity, receipt.halvings = stats.parity, stats.halvings
                    break
        if not job.moves_with.isdisjoint(statuses):
            return Postponed(frozenset(statuses), receipt.frames - receipt.kept_frames)
        started = time.perf_counter()
        job.confirm()
        written = writer.commit()
        written.seconds["write"] += time.perf_counter() - started
        return written


@contextlib.contextmanager
def _counted(unit_id: str, tracker: AttemptTracker) -> Iterator[None]:
    """Name the unit and the host in unexpected errors. They count while an attempt is under way: of its rows."""
    try:
        yield
    except (RvosError, OSError):
        raise
    except Exception as error:
        reason = without_secrets(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")
        kind = ProcessError if tracker.fail(unit_id, reason) else InfrastructureError
        raise kind(f"unit {unit_id} on host {socket.gethostname()}: cannot write it: {reason}") from error


def _write_clip(
    event: ModelEvent, events: Generator[ModelEvent, None, None], writer: UnitWriter, *, is_refined: bool
) -> set[str]:
    """Spool the answers of a clip until its end shows which pairs failed, then write it pair by pair.

    Returns the statuses of those that failed.
    """
    seconds = writer.receipt.seconds
    with FrameSpool() as spool:
        while isinstance(event, Answer):
            started = time.perf_counter()
            try:
                rows = [frame_rows(event.window, event.kept, each) for each in event.found.candidates]
            except MemoryError:
                frame = event.window.names[event.kept[0]]
                error = "no memory on the host to encode masks; use fewer --actors or a smaller --window"
                event.pair.failure = event.pair.failure or ("oom", f"frame {frame}: {error}")
            else:
                for candidate, columns in zip(event.found.candidates, rows, strict=True):
                    columns["chosen"] = [candidate.query == event.found.query] * len(event.kept)
                    spool.add(event.pair.number, columns)
            seconds["encode"] += time.perf_counter() - started
            event = next(events)
        assert isinstance(event, ClipDone)
        started = time.perf_counter()
        spool.close()
        writer.receipt.note_left_out(event.left_out)
        share_failures(event.pairs)
        for pair in event.pairs:
            if pair.failure:
                status, reason = pair.failure
                writer.write(error_row(pair.row, status, for_refined(reason) if is_refined else reason))
            else:
                for rows in spool.read(pair.number):
                    if pair.means_nothing:
                        rows = pa.table(without_masks(rows.to_pydict()), schema=rows.schema)
                    writer.write(pair_rows(rows, pair.row, pair.pair_score, pair.presence, pair.quality))
                if pair.thin:
                    writer.receipt.thin += 1
                    writer.receipt.first_thin = writer.receipt.first_thin or str(PairKey.of(pair.row))
        seconds["write"] += time.perf_counter() - started
        return {pair.failure[0] for pair in event.pairs if pair.failure}


def frame_rows(window: Window, kept: Sequence[int], found: Segmentation) -> dict[str, list]:
    """Return the columns (FRAME_ROWS) of one answer, with its masks encoded.

    Where windows overlap, `query` and `window` are those of the last window that saw the frame.
    """
    height, width = window.size
    count = len(kept)
    return {
        "frame_index": [window.indices[i] for i in kept],
        "frame_name": [window.names[i] for i in kept],
        "height": [height] * count,
        "width": [width] * count,
        "counts": rle.encode(found.masks),
        "score": found.scores.tolist(),
        "box": found.boxes.tolist(),
        "query": [found.query] * count,
        "chosen": [True] * count,
        "margin": [found.margin] * count,
        "window": [None if found.follows else len(window.frames)] * count,
    }


def without_masks(columns: dict[str, list]) -> dict[str, list]:
    """Return columns (FRAME_ROWS) with empty masks and boxes, for a sentence that means nothing."""
    sizes = zip(columns["height"], columns["width"], strict=True)
    return columns | {"counts": [rle.empty(*size) for size in sizes], "box": [[0.0] * 4] * len(columns["box"])}


def pair_rows(
    rows: pa.Table, row: dict, pair_score: float, presence: float | None = None, quality: float | None = None
) -> pa.Table:
    """Return the rows (PREDICTIONS) of one pair: its spooled rows (FRAME_ROWS) with the columns that they share."""
    shared = {
        "video_id": row["video_id"],
        "expression_id": row["expression_id"],
        "pair_score": pair_score,
        "presence": presence,
        "quality": quality,
        "status": "ok",
        "error": None,
    }
    columns = {name: rows[name] for name in rows.column_names}
    for name, value in shared.items():
        columns[name] = pa.repeat(pa.scalar(value, PREDICTIONS.field(name).type), rows.num_rows)
    return pa.table([columns[name] for name in PREDICTIONS.names], schema=PREDICTIONS)


def error_row(row: dict, status: str, error: str) -> pa.Table:
    """Return the one row (PREDICTIONS) of a pair that failed."""
    ids = {name: row[name] for name in ("video_id", "expression_id")}
    failure = {"status": status, "error": f"{PairKey.of(row)}: {without_secrets(error)}"}
    return pa.Table.from_pylist([ids | failure], schema=PREDICTIONS)
