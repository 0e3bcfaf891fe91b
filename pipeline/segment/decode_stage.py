"""First thread of the chain: decode the videos of each unit, window by window."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from model.errors import FastModeError
from model.segmenter import Segmenter
from pipeline.runs.attempts import Attempt, AttemptTracker, TrackerClosedError
from pipeline.segment.channel import Closed, Put
from pipeline.segment.clips import Clip, ClipEnd, FrameOptions, Window, read_windows, split_rows
from pipeline.segment.events import AttemptEnd, AttemptStart, Control, UnitEnd, UnitJob, UnitStart
from pipeline.segment.reachable import Reachable
from schemas.errors import InfrastructureError, ProcessError, RvosError, without_secrets
from schemas.pair import PairKey


def decode_units(
    jobs: Iterable[UnitJob],
    segmenter: Segmenter,
    options: FrameOptions,
    tracker: AttemptTracker,
    put: Put,
    elsewhere: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Put the events of each unit (`DecodeEvent`); a window counts with the bytes of its frames.

    elsewhere: gives URIs of the run, to ask other servers if one fails.

    Raises StorageError if this machine, not a video, is the likely cause of missing videos; ProcessError if the decoder
    raises an unexpected error.
    """
    reachable, options = Reachable(elsewhere), options.of(segmenter)
    for job in jobs:
        with noted_by(None, lambda: f"unit {job.unit_id}"):  # noqa: B023 - called at once
            _decode_unit(job, segmenter, options, tracker, put, reachable)


def _decode_unit(
    job: UnitJob, segmenter: Segmenter, options: FrameOptions, tracker: AttemptTracker, put: Put, reachable: Reachable
) -> None:
    clips, bad = split_rows(job.rows, options)
    failed = [*job.refused, *((row, "bad_row", problem) for row, problem in bad)]
    attempts: list[tuple[PairKey | None, list[Clip]]] = [(None, clips)] if clips else []
    if job.step.pair_by_pair:
        groups = [(PairKey.of(rows[0]), rows, clip) for clip in clips for rows in clip.groups]
        failed_pairs = job.step.failed_pairs
        failed += [(row, *failed_pairs[pair]) for pair, rows, _ in groups if pair in failed_pairs for row in rows]
        attempts = [(pair, [replace(clip, pairs=rows)]) for pair, rows, clip in groups if pair not in failed_pairs]
    put(UnitStart(job, failed))
    for pair, together in attempts:
        if pair in job.step.after_control:
            time.sleep(job.step.pause_seconds)
            control = tracker.begin(job.unit_id, pair, exclusive=True, is_control=True)
            put(Control(control, job.step.control_seconds))
        attempt = tracker.begin(job.unit_id, pair, exclusive=job.step.exclusive)
        put(AttemptStart(attempt))
        with noted_by(attempt, lambda: f"unit {job.unit_id}"):
            for event in read_windows(together, options, segmenter.prepare):
                if isinstance(event, ClipEnd):
                    reachable.check(event.clip.uri, event.error)
                put(event, sum(frame.nbytes for frame in event.frames) if isinstance(event, Window) else 0)
        put(AttemptEnd(attempt))
    put(UnitEnd())


@contextlib.contextmanager
def noted_by(attempt: Attempt | None, where: Callable[[], str]) -> Iterator[None]:
    """Turn an unexpected error into ProcessError, and note it in the marker of the attempt, which then counts.

    Without an attempt nothing would count, and the next process would fail likewise: into InfrastructureError, except
    OSError, such as of the storage of the run.
    """
    try:
        yield
    except (RvosError, FastModeError, TrackerClosedError, Closed):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        if attempt:
            attempt.fail(without_secrets(reason))
        elif isinstance(error, OSError):
            raise
        kind = ProcessError if attempt else InfrastructureError
        raise kind(f"{where()} on host {socket.gethostname()}: {reason}") from error
