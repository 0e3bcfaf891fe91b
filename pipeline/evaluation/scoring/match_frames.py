"""Match the masks of one pair by frame: annotated and predicted masks, void pixels, foreground."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.masks.frame_numbers import shift_of
from pipeline.masks.pairs_to_score import MaskKey, RequestedFrames, RequestedPair
from schemas import rle
from schemas.printable import counted
from schemas.rle import MAX_SIDE


class MatchedFrame(NamedTuple):
    """One scored frame. Masks are rows of a `MaskTable`; -1: none."""

    label: str | int  # the name or index by which its masks were matched
    index: int
    size: tuple[int, int]  # height, width
    truth: list[int]  # annotations of the pair's objects, also of absent ones
    prediction: int
    candidates: list[int]  # predictions of all queries, `prediction` among them
    void: int
    foreground: int


class FrameMatches(NamedTuple):
    """The scored frames of one pair, by index, and error texts about either side."""

    frames: list[MatchedFrame]
    annotation_problems: list[str]
    prediction_problems: list[str]
    only_predicted: list[str | int]  # labels of predicted frames that are not annotated
    in_common: bool  # whether any predicted frame is annotated
    shift: int = 0  # by which the numbers of all predicted frames differ from those of the annotated ones


class MaskTable:
    """The masks that one task needs, as columns over the rows of all its tables."""

    def __init__(
        self, predictions: pa.Table, truth: pa.Table, truth_key: str, void: pa.Table | None, foreground: pa.Table | None
    ):
        names = ("frame_index", "frame_name", "height", "width", "counts", "score", "query")
        tables = [predictions, truth, *(table for table in (void, foreground) if table is not None)]
        rows = pa.concat_tables(
            [table.select([name for name in names if name in table.column_names]) for table in tables],
            promote_options="default",
        )
        self.index, self.name, self.score, self.query = (
            rows[name].to_pylist() for name in ("frame_index", "frame_name", "score", "query")
        )
        heights, widths = (rows[name].fill_null(0).to_pylist() for name in ("height", "width"))
        self.size = list(zip(heights, widths, strict=True))
        self.counts = rows["counts"].cast(pa.large_binary()).combine_chunks()
        self.present = self.counts.is_valid().to_numpy(zero_copy_only=False)
        self.truth_key = truth_key
        starts = np.cumsum([0, *map(len, tables)]).tolist()
        self.predictions = self._rows_by_key(predictions, ("video_id", "expression_id"), 0)
        self.truth = self._rows_by_key(truth, ("video_id", truth_key), starts[1])
        self.void = {} if void is None else self._rows_by_key(void, ("video_id",), starts[2])
        self.foreground = {} if foreground is None else self._rows_by_key(foreground, ("video_id",), starts[-2])

    def _rows_by_key(self, table: pa.Table, columns: Iterable[str], start: int) -> dict[tuple[str, ...], list[int]]:
        """Return the rows that have a frame; `start` is the first row of the table."""
        found: dict[tuple[str, ...], list[int]] = {}
        last, rows = None, []
        for row, key in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True), start):
            if key != last:  # the rows of a key are mostly consecutive
                last, rows = key, found.setdefault(key, [])
            if self.index[row] is not None:
                rows.append(row)
        return found

    def strings(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the bytes of all RLE strings, uint8, and the start of each with the end of the last, int64."""
        _, offsets, data = self.counts.buffers()
        first = self.counts.offset
        starts = np.frombuffer(offsets, np.int64)[first : first + len(self.counts) + 1]
        return np.frombuffer(data or b"", np.uint8), starts

    def is_empty(self, row: int) -> bool:
        """Return whether the mask of a row has no pixel. Frame sizes must be valid."""
        return self.counts[row].as_py() == rle.empty(*self.size[row])

    def truth_arrays(self, frames: Sequence[MatchedFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return `truth_first`, `truth_rows`, heights and widths of the frames for `count_pixels.score_frames`."""
        truth = [[row for row in frame.truth if self.present[row]] for frame in frames]
        sizes = np.array([frame.size for frame in frames], np.int64).reshape(-1, 2)
        first = np.cumsum([0, *map(len, truth)], dtype=np.int64)
        rows = np.array([row for of_frame in truth for row in of_frame], np.int64)
        return first, rows, sizes[:, 0].copy(), sizes[:, 1].copy()

    def void_row(self, frame: MatchedFrame) -> int:
        """Return the void mask of a frame; -1 if it has none or a null one."""
        return frame.void if frame.void >= 0 and self.present[frame.void] else -1


def match_frames(pair: RequestedPair, masks: MaskTable, predicted_as: MaskKey) -> FrameMatches:
    """Match the masks of the annotated frames that the pair requests with the prediction `predicted_as`.

    Frames match by name if all rows of the pair have one, else by index.
    """
    keys = [(pair.video_id, key) for key in sorted(set(pair.annotation_keys))]
    if not keys or pair.is_gap:  # without a target, every annotated frame of the video counts
        keys = [key for key in masks.truth if key[0] == pair.video_id]
    annotated = [row for key in keys for row in masks.truth.get(key, [])]
    predicted = masks.predictions.get(predicted_as, [])
    void, foreground = (side.get((pair.video_id,), []) for side in (masks.void, masks.foreground))
    by_name = all(masks.name[row] is not None for rows in (predicted, annotated, void, foreground) for row in rows)
    labels: list[Any] = masks.name if by_name else masks.index
    requested: dict[str | int, list[int]] = {}
    all_frames = pair.frames == RequestedFrames()  # saves a call for each row
    for row in annotated:
        if all_frames or pair.frames.includes(masks.index[row], masks.name[row]):
            requested.setdefault(labels[row], []).append(row)
    candidates: dict[str | int, list[int]] = {}
    for row in predicted:
        candidates.setdefault(labels[row], []).append(row)
    void_rows, foreground_rows = ({labels[row]: row for row in rows} for rows in (void, foreground))
    known = {labels[row] for row in annotated}
    only_predicted = [label for label in candidates if label not in known]
    in_common = len(only_predicted) < len(candidates)
    found = FrameMatches([], [], [], only_predicted, in_common, shift_of(known, candidates) if only_predicted else 0)
    _check_duplicates(candidates, masks, found)
    odd_annotations, odd_predictions = list[str](), list[str]()
    for label, rows in requested.items():
        of_frame = candidates.get(label, [])
        best = max(
            of_frame, key=lambda row: (-np.inf if masks.score[row] is None else masks.score[row], row), default=-1
        )
        truth = rows if pair.annotation_keys and not pair.is_gap else []
        others = void_rows.get(label, -1), foreground_rows.get(label, -1)
        frame = MatchedFrame(label, masks.index[rows[0]], masks.size[rows[0]], truth, best, of_frame, *others)
        found.frames.append(frame)
        if len(truth) > len(pair.annotation_keys):
            text = f"frame {label} has duplicate annotations; keep one row for each object and frame"
            found.annotation_problems.append(text)
        if problem := _odd_size(frame, rows, masks):
            (odd_predictions if problem.is_predicted else odd_annotations).append(problem.text)
    for side, rows, frames in (("void", void, void_rows), ("foreground", foreground, foreground_rows)):
        if len(frames) < len(rows):
            text = f"duplicate {side} masks in {counted(len(rows) - len(frames), 'frame')}; keep one row for each"
            found.annotation_problems.append(text)
    for problems, sizes in ((found.annotation_problems, odd_annotations), (found.prediction_problems, odd_predictions)):
        if sizes:
            more = f" (and {counted(len(sizes) - 1, 'more frame')})" if len(sizes) > 1 else ""
            problems.append(f"{sizes[0]}{more}; masks must have the displayed size of the video")
    found.frames.sort(key=lambda frame: frame.index)
    return found


def _check_duplicates(candidates: dict[str | int, list[int]], masks: MaskTable, found: FrameMatches) -> None:
    """Note frames with several predictions, unless these are of different queries."""
    duplicates = 0
    for rows in candidates.values():
        queries = {masks.query[row] for row in rows}
        duplicates += len(rows) > 1 and (None in queries or len(queries) < len(rows))
    if duplicates:
        found.prediction_problems.append(
            f"duplicate predictions in {counted(duplicates, 'frame')}; keep one row for each"
        )


class _OddSize(NamedTuple):
    text: str
    is_predicted: bool


def _odd_size(frame: MatchedFrame, annotated: Sequence[int], masks: MaskTable) -> _OddSize | None:
    """Return the first mask that differs in size from the first annotation of the frame, None if all are equal."""
    height, width = frame.size
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        return _OddSize(f"frame {frame.label}: size {height}x{width} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}", False)
    for side, rows in (
        ("annotation", annotated),
        ("void mask", (frame.void,)),
        ("foreground", (frame.foreground,)),
        ("prediction", frame.candidates),
    ):
        for row in rows:
            if row >= 0 and masks.size[row] != frame.size:
                sizes = f"annotation {height}x{width}, {side} {masks.size[row][0]}x{masks.size[row][1]}"
                return _OddSize(f"frame {frame.label}: sizes differ: {sizes}", side == "prediction")
    return None
