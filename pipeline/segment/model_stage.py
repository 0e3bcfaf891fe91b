"""Second thread of the chain: run the model on each window for all pairs that want it.

An error of one pair fails that pair only.
"""

import itertools
import socket
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from model.errors import FastModeError
from model.memory import is_out_of_memory, release_cache
from model.segmenter import ComparingSegmenter, Overlap, RatingSegmenter, Segmentation, Segmenter, SegmenterStats
from pipeline.io.manifest import length_problem
from pipeline.runs.attempts import Attempt
from pipeline.segment.channel import Put
from pipeline.segment.clips import Clip, ClipEnd, Window
from pipeline.segment.decode_stage import noted_by
from pipeline.segment.events import (
    Answer,
    AttemptEnd,
    AttemptStart,
    ClipDone,
    Control,
    DecodeEvent,
    ModelEvent,
    PairState,
    UnitDone,
    UnitEnd,
    UnitStart,
    UnitTimings,
    share_failures,
)
from pipeline.segment.exclusive_masks import group_of
from pipeline.segment.source_masks import SourcePair
from schemas import advice
from schemas.errors import InfrastructureError, InputError
from schemas.pair import PairKey

CONTROL_FRAME = np.zeros((64, 64, 3), np.uint8)
BROKEN_PARITY = 0.2  # share of mask pixels that differ from float32
NOT_FINITE = "the model's output is not finite"


class ModelStage:
    """A segmenter at work: windows in, answers out, and how long it works and waits on both sides.

    load_reference: loads the same model on a device that is trusted; None if `segmenter` is on it.
    """

    def __init__(self, segmenter: Segmenter, put: Put, load_reference: Callable[[], Segmenter] | None = None) -> None:
        self.segmenter = segmenter
        self.load_reference = load_reference
        self.is_finite = True  # all output of the unit so far
        self.put = put
        self.timings = UnitTimings()
        self.unit_id, self.decides = "", True
        self.sources: Mapping[PairKey, SourcePair] = {}  # of the unit
        self.pairs: list[PairState] = []  # of the current clip
        self.attempt: Attempt | None = None

    def run(self, events: Generator[DecodeEvent, None, None]) -> None:
        """Put the events of each unit (`ModelEvent`); an answer counts with the bytes of its masks.

        Before anything of the unit is committed, raises InputError if a fast mode fails or differs too much, and
        InfrastructureError if the device returns numbers that are not finite, whatever it computes.
        """
        free = time.perf_counter()
        try:
            for event in events:
                came = time.perf_counter()
                if isinstance(event, UnitStart):
                    self.unit_id, free = event.job.unit_id, max(free, event.job.since)
                    self.decides = event.job.decides
                self.timings.waiting += max(0.0, came - free)
                if isinstance(event, Control | AttemptStart):
                    self.attempt = event.attempt
                with noted_by(self.attempt, self._where):
                    self._handle(event)
                free = time.perf_counter()
        except FastModeError as error:
            raise InputError(f"unit {self.unit_id}: {error}") from None
        finally:
            events.close()
            if self.attempt:
                self.attempt.stop_clock()

    def _where(self) -> str:
        return f"unit {self.unit_id}" + (f", video_id={self.pairs[0].row['video_id']}" if self.pairs else "")

    def _handle(self, event: DecodeEvent) -> None:
        match event:
            case UnitStart(job=job):
                self.sources = job.sources
                if job.decides and isinstance(self.segmenter, ComparingSegmenter):
                    self.segmenter.compare_again()  # another unit may have come first, if this one had to wait
                self._hand_on(event)
            case Control(attempt, seconds):
                ends = time.monotonic() + seconds
                is_control_finite(self.segmenter)
                time.sleep(max(0.0, ends - time.monotonic()))
                self._hand_on(AttemptEnd(attempt))
            case AttemptStart(attempt):
                attempt.start_clock()
            case Window(clip=clip):
                self.timings.decode += event.seconds
                self.pairs = self.pairs or self._start_pairs(clip)
                self._segment(event)
            case ClipEnd(clip, error):
                self.timings.decode += event.seconds
                pairs, self.pairs = self.pairs or self._start_pairs(clip), []
                if error:
                    for pair in pairs:
                        pair.failure = pair.failure or (error.status, str(error))
                share_failures(pairs)
                for pair in pairs:
                    if pair.source and (problem := pair.source.lacks(pair.frames)):
                        pair.failure = pair.failure or ("bad_row", problem)
                    if not pair.frames:
                        pair.failure = pair.failure or ("missing", f"none of its frames was read ({clip.uri})")
                    elif isinstance(self.segmenter, RatingSegmenter) and pair.presence is not None:
                        pair.means_nothing = pair.presence < self.segmenter.no_target_below
                self._hand_on(ClipDone(pairs, event.left_out))
            case AttemptEnd(attempt):
                attempt.stop_clock()
                self.attempt = None
                self._hand_on(event)
            case UnitEnd():
                if not self.is_finite:
                    self._require_sound_device()
                self.is_finite = True
                done = UnitDone(self.timings, self._stats())
                self.timings = UnitTimings()
                self._hand_on(done)

    def _require_sound_device(self) -> None:
        """Raise InfrastructureError if an empty picture has finite output on the trusted device, and not on this one.

        If it has none there either, or cannot be tried there, the checkpoint is the likely cause.
        """
        if self.load_reference is None or is_control_finite(self.segmenter):
            return
        try:
            is_broken = is_control_finite(self.load_reference())
        except (RuntimeError, MemoryError):
            is_broken = False
        if is_broken:
            raise InfrastructureError(
                f"the GPU of host {socket.gethostname()} is broken: for an empty picture {NOT_FINITE}, on the CPU it "
                "is; replace the GPU, or leave it out with CUDA_VISIBLE_DEVICES"
            )

    def _stats(self) -> SegmenterStats:
        """Return the counters of a unit. Raises FastModeError if a fast mode fails.

        If masks differ too much, one and the same unit decides in every process, whoever segments it. The first units
        of other processes only show broken devices, whose masks differ far more.
        """
        try:
            return self.segmenter.stats()
        except FastModeError as error:
            if self.decides or error.parity is None or error.parity > BROKEN_PARITY:
                raise
            return SegmenterStats(parity=error.parity)

    def _hand_on(self, event: ModelEvent, size: int = 0) -> None:
        started = time.perf_counter()
        self.put(event, size)
        self.timings.blocked += time.perf_counter() - started

    def _start_pairs(self, clip: Clip) -> list[PairState]:
        """Return the pairs of a clip before its first window. Expressions that are too long fail here."""
        pairs = [
            PairState(number, row, group=group_of(row) if clip.exclusive else None)
            for number, row in enumerate(clip.pairs)
        ]
        if self.sources:
            pairs = [replace(pair, source=self.sources[PairKey.of(pair.row)]) for pair in pairs]
        for pair in pairs:
            if problem := length_problem(pair.row["expression"], self.segmenter):
                pair.failure = "bad_row", problem
        return pairs

    def _segment(self, window: Window) -> None:
        """Segment the pairs that want the same frames of the window together.

        A follower also sees the windows of which no frame is wanted.
        """
        share_failures(self.pairs)
        groups: dict[tuple[int, ...], list[PairState]] = {}
        distinct = [i for i, index in enumerate(window.indices) if not i or index != window.indices[i - 1]]
        for pair, targets in zip(self.pairs, window.clip.targets, strict=True):
            kept = tuple(i for i in distinct if targets is None or window.names[i] in targets)
            if pair.source and (problem := pair.source.problem(window, kept)):
                pair.failure = pair.failure or ("bad_row", problem)
            if (kept or self.segmenter.lookahead is not None) and not pair.failure:
                groups.setdefault(kept, []).append(pair)
        for kept, group in groups.items():
            self._segment_group(window, kept, group)

    def _segment_group(self, window: Window, kept: Sequence[int], group: list[PairState]) -> None:
        """One model call. Out of memory, call it again part by part, so that only the pairs that do not fit fail."""
        keep = None if len(kept) == len(window.frames) else list(kept)
        overlap = None
        if window.final is not None:
            sources = [pair.source.in_window(window) for pair in group if pair.source]
            overlap = Overlap(window.start, window.final, [pair.track for pair in group], sources)
        answered, started = 0, time.perf_counter()
        try:
            expressions = [pair.row["expression"] for pair in group]
            exclusive = {"exclusive": [len(part) for part in _parts(group)]} if window.clip.exclusive else {}
            answers = self.segmenter.segment(window.frames, window.size, expressions, keep, overlap, **exclusive)
            for pair, found in zip(group, answers, strict=True):
                self.timings.model += time.perf_counter() - started
                self._take(pair, window, kept, found)
                answered += 1
                started = time.perf_counter()
            return
        except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
            reason = str(error).partition("\n")[0] or "the host's memory is full"
        release_cache()
        frames = f"{len(window.frames)} frames" if len(window.frames) > 1 else "one frame"
        for part in _parts(group):
            if part[-1] in group[:answered]:
                continue
            if part[0] not in group[:answered] and len(part) < len(group):
                self._segment_group(window, kept, part)
                continue
            way = (advice.MEMORY if self.segmenter.lookahead is None else advice.FOLLOWER_MEMORY).run
            part[0].failure = (
                "oom",
                f"frame {window.names[0]}: out of memory on a window of {frames} ({reason}); {way}",
            )

    def _take(self, pair: PairState, window: Window, kept: Sequence[int], found: Segmentation) -> None:
        """Hand on an answer, without the frames that a later window has too."""
        if not found.finite:
            pair.track, self.is_finite = None, False
            way = (advice.NOT_FINITE if self.segmenter.lookahead is None else advice.FOLLOWER_NOT_FINITE).run
            pair.failure = "nan", f"frames {window.names[0]} to {window.names[-1]}: {NOT_FINITE}; {way}"
            return
        ready = kept if window.final is None else [i for i in kept if window.start + i < window.final]
        if ready:
            # Without the track, which need not stay in memory until the answer is written.
            size = sum(candidate.masks.nbytes for candidate in found.candidates)
            self._hand_on(Answer(pair, window, ready, replace(found, track=None)), size)
            pair.frames += len(ready)
            pair.score_sum += sum(found.scores.tolist())
            if found.presence is not None and found.quality is not None:
                pair.presence = max(pair.presence or 0.0, found.presence)
                pair.quality_sum = (pair.quality_sum or 0.0) + found.quality * len(ready)
        pair.track, pair.thin = found.track, pair.thin or found.thin


def is_control_finite(segmenter: Segmenter) -> bool:
    """Segment the picture of controls. Return True if the output is finite."""
    overlap = None if segmenter.lookahead is None else Overlap(0, 1, [None])
    frames = [segmenter.prepare(CONTROL_FRAME)]
    answers = segmenter.segment(frames, CONTROL_FRAME.shape[:2], ["a shape"], None, overlap)
    finite = [answer.finite for answer in answers]
    return all(finite)


def _parts(group: Sequence[PairState]) -> list[list[PairState]]:
    """Divide pairs into the smallest parts for one model call: single pairs, or groups of exclusive masks."""
    parts = itertools.groupby(group, lambda pair: pair.number if pair.group is None else pair.group)
    return [list(part) for _, part in parts]
