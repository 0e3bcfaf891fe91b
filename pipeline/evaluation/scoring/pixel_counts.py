"""Run the compiled kernel over what was joined, all frames at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from pipeline.evaluation.metrics import kernel
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame
from pipeline.masks.requested import MaskKey, RequestedPair
from schemas import rle

Entry = tuple[MatchedFrame, int]  # a frame, and the row of the mask that is scored on it (-1: an empty one)


@dataclass(slots=True)
class PairMatch:
    """One pair against one prediction; `counts` go with its entries."""

    pair: RequestedPair
    predicted_as: MaskKey
    frames: list[MatchedFrame]
    error: str | None = None  # what makes its prediction useless
    candidates: list[Entry] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.empty((0, 7), np.int64))

    @property
    def entries(self) -> list[Entry]:
        """The frames first, then the candidates."""
        return [*((frame, -1 if self.error else frame.prediction) for frame in self.frames), *self.candidates]


def run_kernel(works: Sequence[PairMatch], masks: MaskTable) -> list[str]:
    """Fill in the counts of all works; returns what is wrong with annotations, in words.

    A broken prediction becomes the error of its work, which then counts as if there were none.
    """
    entries = [work.entries for work in works]
    counts, errors = _count([entry for of in entries for entry in of], masks)
    problems = []
    start = 0
    for work, of in zip(works, entries, strict=True):
        work.counts, wrong = counts[start : start + len(of)], errors[start : start + len(of)]
        start += len(of)
        for n in np.flatnonzero(wrong).tolist():
            text = _broken_string(*of[n], masks, wrong[n])
            if wrong[n] == kernel.BAD_PREDICTION:
                work.error = work.error or text
            else:
                problems.append(work.pair.message(text))
        if wrong.any():
            work.candidates = []
            work.counts = _count(work.entries, masks)[0]
    return problems


def _count(entries: Sequence[Entry], masks: MaskTable) -> tuple[np.ndarray, np.ndarray]:
    truth = [[row for row in frame.truth if masks.present[row]] for frame, _ in entries]
    sizes = np.array([frame.size for frame, _ in entries], np.int64).reshape(-1, 2)
    void = [frame.void if frame.void >= 0 and masks.present[frame.void] else -1 for frame, _ in entries]
    return kernel.score_frames(
        *buffers(masks.counts),
        np.cumsum([0, *(len(rows) for rows in truth)], dtype=np.int64),
        np.array([row for rows in truth for row in rows], np.int64),
        np.array([row for _, row in entries], np.int64),
        np.array(void, np.int64),
        sizes[:, 0].copy(),
        sizes[:, 1].copy(),
    )


def buffers(strings: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all strings, uint8, and where each starts, int64, with the end of the last; nothing is copied."""
    _, offsets, data = strings.buffers()
    starts = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data or b"", np.uint8), starts


def _broken_string(frame: MatchedFrame, prediction: int, masks: MaskTable, error: int) -> str:
    """What the kernel found broken, in the words of `schemas.rle`."""
    side, rows = {
        kernel.BAD_TRUTH: ("annotation", frame.truth),
        kernel.BAD_PREDICTION: ("prediction", [prediction]),
        kernel.BAD_VOID: ("void mask", [frame.void]),
    }[error]
    for row in rows:
        counts = masks.counts[row].as_py()
        try:
            if counts is not None:
                rle.check(counts, *masks.size[row])
        except rle.RleError as reason:
            return f"frame {frame.label}: {side}: {reason}"
    raise AssertionError(f"kernel and schemas.rle disagree on frame {frame.label}")
