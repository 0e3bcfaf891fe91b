"""J and F of the pairs in one predictions table: join by frame, then the compiled kernel over all frames at once."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.evaluation import kernel
from pipeline.evaluation.join import Masks, Match, match_frames
from pipeline.evaluation.pairs import Pair
from pipeline.evaluation.truth import Truth
from schemas import rle


@dataclass(frozen=True, slots=True)
class PairScore:
    """The frames of one pair that count, in order, and their scores. No frames: there was nothing to score it by."""

    pair: Pair
    frame_indices: np.ndarray  # int32 [N]
    j: np.ndarray  # float64 [N]
    f: np.ndarray
    missing_frames: int = 0  # of the N: not predicted, and so scored as zero


def score_pairs(pairs: list[Pair], predictions: pa.Table, truth: Truth) -> tuple[list[PairScore], list[str]]:
    """The scores of `pairs`, in their order; or none, and what is wrong with their masks, in words."""
    videos = {pair.video_id for pair in pairs}
    masks = Masks(predictions, truth.rows(videos), truth.key, truth.void_rows(videos))
    problems: list[str] = []
    matches: list[Match] = []
    bounds = [0]
    for pair in pairs:
        found, wrong = match_frames(pair, masks)
        problems += [pair.message(text) for text in wrong]
        matches += found
        bounds.append(len(matches))
    if problems:
        return [], problems
    counts, errors = _run_kernel(matches, masks)
    for n in np.flatnonzero(errors).tolist():
        pair = pairs[int(np.searchsorted(bounds, n, side="right")) - 1]
        problems.append(pair.message(_broken_string(matches[n], masks, errors[n])))
    if problems:
        return [], problems
    j, f = measures(counts)
    missing = np.array([match.prediction < 0 for match in matches], bool)
    j[missing] = f[missing] = 0.0
    index = np.array([match.index for match in matches], np.int32)
    return [
        PairScore(pair, index[start:stop], j[start:stop], f[start:stop], int(missing[start:stop].sum()))
        for pair, start, stop in zip(pairs, bounds, bounds[1:], strict=False)
    ], []


def measures(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """J and F, float64 [N], from the kernel's counts [N, 6]; to the last bit those of the DAVIS 2017 evaluation.

    J = inter / union, 1 if both masks are empty. F = 2PR / (P + R), 0 if P + R is 0; P is the matched share of the
    predicted boundary, R that of the true one. If only one of them has boundary, F is 0; if neither has, 1.
    """
    inter, union, n_gt, n_pred, gt_match, pred_match = counts.T.astype(np.float64)
    j = np.divide(inter, union, out=np.ones(len(counts)), where=union > 0)
    precision = pred_match / np.maximum(n_pred, 1)
    recall = gt_match / np.maximum(n_gt, 1)
    total = precision + recall
    f = np.divide(2 * precision * recall, total, out=np.zeros(len(counts)), where=total > 0)
    f[(n_gt == 0) & (n_pred == 0)] = 1.0
    return j, f


def _run_kernel(matches: list[Match], masks: Masks) -> tuple[np.ndarray, np.ndarray]:
    present = masks.counts.is_valid().to_numpy(zero_copy_only=False)
    truth = [[row for row in match.truth if present[row]] for match in matches]
    sizes = np.array([match.size for match in matches], np.int64).reshape(-1, 2)
    strings, starts = _buffers(masks.counts)
    return kernel.score_frames(
        strings,
        starts,
        np.cumsum([0, *(len(rows) for rows in truth)], dtype=np.int64),
        np.array([row for rows in truth for row in rows], np.int64),
        np.array([match.prediction for match in matches], np.int64),
        np.array([match.void if match.void >= 0 and present[match.void] else -1 for match in matches], np.int64),
        sizes[:, 0].copy(),
        sizes[:, 1].copy(),
    )


def _buffers(strings: pa.LargeBinaryArray) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all strings, uint8, and where each starts, int64, with the end of the last; nothing is copied."""
    _, offsets, data = strings.buffers()
    starts = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
    return np.frombuffer(data or b"", np.uint8), starts


def _broken_string(match: Match, masks: Masks, error: int) -> str:
    """What the kernel found broken, in the words of `schemas.rle`."""
    side, rows = {
        kernel.BAD_TRUTH: ("annotation", match.truth),
        kernel.BAD_PREDICTION: ("prediction", [match.prediction]),
        kernel.BAD_VOID: ("void mask", [match.void]),
    }[error]
    for row in rows:
        counts = masks.counts[row].as_py()
        try:
            if counts is not None:
                rle.check(counts, int(masks.height[row]), int(masks.width[row]))
        except rle.RleError as reason:
            return f"frame {match.label}: {side}: {reason}"
    raise AssertionError(f"kernel and schemas.rle disagree on frame {match.label}")
