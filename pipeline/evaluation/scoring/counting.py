"""Count the pixels of all matched frames in one call of the compiled kernel."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.evaluation.metrics import count_columns, count_pixels
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from schemas import rle

ScoredMask = tuple[MatchedFrame, int]  # a frame, and the row of the prediction scored on it; -1: an empty mask


@dataclass(slots=True)
class PairMatch:
    """One pair matched with one prediction. `counts` has a row for each of its `scored_masks`."""

    pair: RequestedPair
    predicted_as: MaskKey
    frames: list[MatchedFrame]
    error: str | None = None  # why its prediction cannot be scored
    only_predicted: Sequence[str | int] = ()  # predicted frames that are not annotated
    annotated: int = 0  # requested frames that are annotated, before the protocol leaves out any
    in_common: bool = True  # whether any predicted frame is annotated
    shift: int = 0  # of the numbers of predicted frames, see `FrameMatches`
    candidates: list[ScoredMask] = field(default_factory=list)
    counts: np.ndarray = field(default_factory=lambda: np.empty((0, 7), np.int64))

    @property
    def scored_masks(self) -> list[ScoredMask]:
        """The frames, then the candidates."""
        return [*((frame, -1 if self.error else frame.prediction) for frame in self.frames), *self.candidates]


def fill_counts(matches: Sequence[PairMatch], masks: MaskTable) -> list[str]:
    """Fill in the counts of all matches; return error texts about annotations.

    A corrupt prediction becomes the error of its match, which is then counted as if nothing were predicted.
    """
    scored_masks = [match.scored_masks for match in matches]
    counts, errors = _count([mask for of_match in scored_masks for mask in of_match], masks)
    problems = []
    start = 0
    for match, of_match in zip(matches, scored_masks, strict=True):
        match.counts, wrong = counts[start : start + len(of_match)], errors[start : start + len(of_match)]
        start += len(of_match)
        for n in np.flatnonzero(wrong).tolist():
            text = _corrupt_string(*of_match[n], masks, wrong[n])
            if wrong[n] == count_columns.BAD_PREDICTION:
                match.error = match.error or text
            else:
                problems.append(match.pair.message(text))
        if wrong.any():
            match.candidates = []
            match.counts = _count(match.scored_masks, masks)[0]
    return problems


def _count(scored_masks: Sequence[ScoredMask], masks: MaskTable) -> tuple[np.ndarray, np.ndarray]:
    truth_first, truth_rows, heights, widths = masks.truth_arrays([frame for frame, _ in scored_masks])
    predictions = np.array([row for _, row in scored_masks], np.int64)
    void = np.array([masks.void_row(frame) for frame, _ in scored_masks], np.int64)
    return count_pixels.score_frames(*masks.strings(), truth_first, truth_rows, predictions, void, heights, widths)


def _corrupt_string(frame: MatchedFrame, prediction: int, masks: MaskTable, error: int) -> str:
    """Describe with `schemas.rle` the string that the kernel could not parse."""
    side, rows = {
        count_columns.BAD_TRUTH: ("annotation", frame.truth),
        count_columns.BAD_PREDICTION: ("prediction", [prediction]),
        count_columns.BAD_VOID: ("void mask", [frame.void]),
    }[error]
    for row in rows:
        counts = masks.counts[row].as_py()
        try:
            if counts is not None:
                rle.check(counts, *masks.size[row])
        except rle.RleError as reason:
            return f"frame {frame.label}: {side}: {reason}"
    raise AssertionError(f"kernel and schemas.rle disagree on frame {frame.label}")
