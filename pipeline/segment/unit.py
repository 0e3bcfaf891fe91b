"""Segment units: decode, run the model, encode and commit, each in a thread of its own. No Ray in here.

    fetch, decode ─ windows ─► model ─ answers ─► encode, spool, commit ─► receipts

Every unit passes all three in turn: while the model is at one, the next is decoded and the one before is written.
"""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import pyarrow as pa

from model.errors import FastModeError
from model.referformer.inference.segmenter import Segmentation, Segmenter
from pipeline.runs.attempts import RetryStep
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter
from pipeline.segment.channel import Put, run_in_thread
from pipeline.segment.clips import Clip, ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.segment.in_flight import Attempt, InFlightAttempts
from pipeline.segment.inference import PairState, WindowSegmenter, frame_rows
from pipeline.segment.spool import FrameSpool
from schemas.errors import InputError, pair_message
from schemas.manifest import MAX_TOKENS
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

# Between two threads. A window is one event, a small unit some six. By default a window has 25 MB at 360x640, and the
# masks of one pair in it 15 MB at 480p.
EVENTS_AHEAD = 16
BYTES_AHEAD = 2**27

Guard = Callable[[list[dict]], Attempt]
Failed = tuple[dict, str, str]  # plan row, status, text


@dataclass(frozen=True, slots=True)
class UnitJob:
    """What is to be done for one unit, and where it goes.

    `rows` are the plan rows to segment: all of the unit, or those that are done again where `earlier` is the object to
    be replaced. `guard` makes the attempt at rows that are done together: all, or one by one, as `rung` says.
    """

    uri: str
    rows: list[dict]
    guard: Guard = lambda rows: nullcontext(nullcontext())
    rung: RetryStep = field(default_factory=lambda: RetryStep(alone=False))
    earlier: ReplacedObject | None = None
    since: float = field(default_factory=time.perf_counter)  # when there was this to do; before, nobody waited for it


Prepared = tuple[UnitJob, Receipt] | Receipt  # a receipt alone: the unit is there already


@dataclass(frozen=True, slots=True)
class UnitStart:
    job: UnitJob
    receipt: Receipt
    failed: list[Failed]  # rows that are not even tried


@dataclass(frozen=True, slots=True)
class AttemptStart:
    limit: AbstractContextManager  # of the time that the model may be at it


@dataclass(frozen=True, slots=True)
class AttemptEnd:
    attempt: Attempt


@dataclass(frozen=True, slots=True)
class UnitEnd:
    """Nothing more comes for the unit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model found for one pair in one window, at the positions `kept` of it."""

    pair: PairState
    window: Window
    kept: Sequence[int]
    found: Segmentation


@dataclass(frozen=True, slots=True)
class ClipDone:
    """What became of the pairs of a clip; all their answers came before."""

    pairs: list[PairState]


def segment_unit(job: UnitJob, receipt: Receipt, segmenter: Segmenter, options: FrameOptions) -> Receipt:
    """`segment_jobs` of one."""
    with closing(segment_jobs([(job, receipt)], segmenter, options)) as receipts:
        return next(receipts)


def segment_jobs(
    jobs: Iterable[Prepared], segmenter: Segmenter, options: FrameOptions
) -> Generator[Receipt, None, None]:
    """Make and commit the objects of units: every plan row ends as masks or as one error row.

    Yields, in the order of `jobs`, the receipt of what lies at each `job.uri`, which is another attempt's if that was
    first. It is the decoding thread that iterates `jobs`, some units ahead.
    """
    with InFlightAttempts() as underway:
        windows = run_in_thread(lambda put: _decode(jobs, segmenter, options, underway, put), EVENTS_AHEAD, BYTES_AHEAD)
        answers = run_in_thread(lambda put: _segment(windows, segmenter, options, put), EVENTS_AHEAD, BYTES_AHEAD)
        with closing(answers):
            for event in answers:
                yield event if isinstance(event, Receipt) else _write_unit(event, answers, underway)


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


def _decode(
    jobs: Iterable[Prepared], segmenter: Segmenter, options: FrameOptions, underway: InFlightAttempts, put: Put
) -> None:
    """The first thread: the windows of each unit, between its start and its end."""
    for item in jobs:
        if isinstance(item, Receipt):
            put(item)
            continue
        job, receipt = item
        clips, bad = split_rows(job.rows, options.frame_step)
        failed = [(row, "bad_row", problem) for row, problem in bad]
        tries = [clips] if clips else []
        if job.rung.alone:
            tries, given_up = _apart(clips, job.rung)
            failed += given_up
        put(UnitStart(job, receipt, failed))
        for together in tries:
            attempt = job.guard([row for clip in together for row in clip.pairs])
            put(AttemptStart(underway.begin(attempt, apart=job.rung.apart)))
            for event in read_windows(together, options, segmenter.prepare):
                put(event, sum(frame.nbytes for frame in event.frames) if isinstance(event, Window) else 0)
            put(AttemptEnd(attempt))
        put(UnitEnd())


def _apart(clips: list[Clip], rung: RetryStep) -> tuple[list[list[Clip]], list[Failed]]:
    """Each pair as a clip of its own, and those given up."""
    tries, given_up = [], []
    for clip in clips:
        for row in clip.pairs:
            failure = rung.given_up.get(PairKey.of(row))
            if failure:
                given_up.append((row, *failure))
            else:
                tries.append([replace(clip, pairs=[row])])
    return tries, given_up


def _segment(events: Generator, segmenter: Segmenter, options: FrameOptions, put: Put) -> None:
    """The second thread: the model at work, and how long it waits for the threads on both its sides."""
    windows = WindowSegmenter(segmenter, {}, reduce_window=options.reduce_window)
    pairs: list[PairState] = []

    def hand_on(item: object, size: int = 0) -> None:
        started = time.perf_counter()
        put(item, size)
        windows.seconds["blocked"] += time.perf_counter() - started

    def answer(pair: PairState, window: Window, kept: Sequence[int], found: Segmentation) -> None:
        hand_on(Answer(pair, window, kept, found), found.masks.nbytes)

    with closing(events), ExitStack() as turn:
        free = time.perf_counter()
        for event in events:
            came = time.perf_counter()
            if isinstance(event, Receipt):
                put(event)
                continue
            if isinstance(event, UnitStart):
                receipt = event.receipt
                windows.seconds = receipt.seconds
                free = max(free, event.job.since)
            windows.seconds["waiting"] += max(0.0, came - free)
            match event:
                case AttemptStart():
                    turn.enter_context(event.limit)
                case Window():
                    pairs = pairs or _pairs(event.clip, segmenter)
                    windows.seconds["decode"] += event.seconds
                    with _refusal(receipt):
                        windows.segment(event, pairs, answer)
                case ClipEnd():
                    pairs = pairs or _pairs(event.clip, segmenter)
                    windows.seconds["decode"] += event.seconds
                    for pair in pairs:
                        pair.failure = pair.failure or _failure(event, pair)
                    hand_on(ClipDone(pairs))
                    pairs = []
                case _:
                    if isinstance(event, AttemptEnd):
                        turn.close()
                    if isinstance(event, UnitEnd):
                        with _refusal(receipt):
                            stats = segmenter.stats()
                        receipt.parity, receipt.halvings = stats.parity, stats.halvings
                    hand_on(event)
            free = time.perf_counter()


@contextmanager
def _refusal(receipt: Receipt) -> Iterator[None]:
    """A faster way to compute that will not do ends the run, before anything of the unit is committed: InputError."""
    try:
        yield
    except FastModeError as error:
        raise InputError(f"unit {receipt.unit_id}: {error}") from None


def _write_unit(start: UnitStart, events: Generator, underway: InFlightAttempts) -> Receipt:
    """The third thread: one unit to its commit."""
    with UnitWriter(start.job.uri, start.receipt, start.job.earlier) as writer:
        for failure in start.failed:
            writer.write(error_row(*failure))
        for event in events:
            if isinstance(event, UnitEnd):
                break
            if isinstance(event, AttemptEnd):
                underway.end(event.attempt)
            else:
                _write_clip(event, events, writer)
        started = time.perf_counter()
        written = writer.commit()
        written.seconds["write"] += time.perf_counter() - started
        return written


def _write_clip(event: Answer | ClipDone, events: Generator, writer: UnitWriter) -> None:
    """All answers of one clip, spooled until it is known which of its pairs came through."""
    seconds = writer.receipt.seconds
    with FrameSpool() as spool:
        while isinstance(event, Answer):
            started = time.perf_counter()
            rows = _encoded(event)
            if rows:
                spool.add(event.pair.number, rows)
            seconds["encode"] += time.perf_counter() - started
            event = next(events)
        started = time.perf_counter()
        spool.close()
        for pair in event.pairs:
            if pair.failure:
                writer.write(error_row(pair.row, *pair.failure))
            else:
                for rows in spool.read(pair.number):
                    writer.write(pair_rows(rows, pair.row, pair.mean_score))
        seconds["write"] += time.perf_counter() - started


def _encoded(answer: Answer) -> dict[str, list] | None:
    """FRAME_ROWS of an answer; None if the host has no memory for them, and the pair has failed."""
    try:
        return frame_rows(answer.window, answer.kept, answer.found)
    except MemoryError:
        frame = answer.window.names[answer.kept[0]]
        text = f"frame {frame}: no memory on the host to encode masks; use fewer --actors or a smaller --window"
        answer.pair.failure = answer.pair.failure or ("oom", text)
        return None


def _pairs(clip: Clip, segmenter: Segmenter) -> list[PairState]:
    """The pairs of a clip before its first window; those with too long a sentence have failed already."""
    return [PairState(number, row, _too_many_tokens(row, segmenter)) for number, row in enumerate(clip.pairs)]


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
