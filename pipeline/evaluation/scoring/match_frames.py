"""Bring together what belongs to one frame of one pair: annotated masks, predicted masks, void pixels."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.masks.requested import MaskKey, RequestedFrames, RequestedPair
from schemas.rle import MAX_SIDE


class MatchedFrame(NamedTuple):
    """One frame that counts. Numbers are rows of `MaskTable`, -1: there is none."""

    label: str | int  # the name or index by which it was matched
    index: int
    size: tuple[int, int]  # height, width
    truth: list[int]  # the objects that the pair means, present in this frame or not
    prediction: int
    candidates: list[int]  # the predictions of all queries, of which `prediction` is one
    void: int
    foreground: int


class Joined(NamedTuple):
    """The frames of one pair, by index, and what is wrong with either side, in words."""

    frames: list[MatchedFrame]
    wrong_truth: list[str]
    wrong_prediction: list[str]


class MaskTable:
    """The masks of one predictions table with all that may be needed to score them, as one list of rows."""

    def __init__(
        self, predictions: pa.Table, truth: pa.Table, truth_key: str, void: pa.Table | None, foreground: pa.Table | None
    ):
        tables = [predictions, truth, *(table for table in (void, foreground) if table is not None)]
        names = ("frame_index", "frame_name", "height", "width", "counts", "score", "query")
        rows = pa.concat_tables(
            [table.select([name for name in names if name in table.column_names]) for table in tables],
            promote_options="default",
        )
        self.index = rows["frame_index"].to_pylist()
        self.name = _column(rows, "frame_name")
        self.named = "frame_name" in rows.column_names
        self.score = _column(rows, "score")
        self.query = _column(rows, "query")
        self.size = list(
            zip(rows["height"].fill_null(0).to_pylist(), rows["width"].fill_null(0).to_pylist(), strict=True)
        )
        self.counts = rows["counts"].cast(pa.large_binary()).combine_chunks()
        self.present = self.counts.is_valid().to_numpy(zero_copy_only=False)
        self.predictions = self._tracks(predictions, ("video_id", "expression_id"), 0)
        self.truth = self._tracks(truth, ("video_id", truth_key), len(predictions))
        self.truth_key = truth_key
        start = len(predictions) + len(truth)
        self.void = {} if void is None else self._tracks(void, ("video_id",), start)
        start += 0 if void is None else len(void)
        self.foreground = {} if foreground is None else self._tracks(foreground, ("video_id",), start)

    def _tracks(self, table: pa.Table, keys: Iterable[str], start: int) -> dict[tuple[str, ...], list[int]]:
        """Rows with a frame, by track."""
        tracks: dict[tuple[str, ...], list[int]] = {}
        last, rows = None, []
        for row, track in enumerate(zip(*(table[key].to_pylist() for key in keys), strict=True), start):
            if track != last:  # most tables hold tracks in one piece
                last, rows = track, tracks.setdefault(track, [])
            if self.index[row] is not None:
                rows.append(row)
        return tracks


def _column(rows: pa.Table, name: str) -> list:
    return rows[name].to_pylist() if name in rows.column_names else [None] * len(rows)


def match_frames(pair: RequestedPair, masks: MaskTable, predicted_as: MaskKey) -> Joined:
    """The frames of a pair that count: all annotated ones that it was asked for.

    They are matched by name where all rows of the pair on all sides have one, else by index.
    """
    predicted = masks.predictions.get(predicted_as, [])
    void = masks.void.get((pair.video_id,), [])
    foreground = masks.foreground.get((pair.video_id,), [])
    annotated = _annotated_rows(pair, masks)
    sides = (predicted, annotated, void, foreground)
    named = masks.named and all(masks.name[row] is not None for rows in sides for row in rows)
    labels: list[Any] = masks.name if named else masks.index
    asked: dict[str | int, list[int]] = {}
    all_frames = pair.frames == RequestedFrames()  # saves a call for each row
    for row in annotated:
        if all_frames or pair.frames.includes(masks.index[row], masks.name[row]):
            asked.setdefault(labels[row], []).append(row)
    candidates: dict[str | int, list[int]] = {}
    for row in predicted:
        candidates.setdefault(labels[row], []).append(row)
    hidden, seen = ({labels[row]: row for row in rows} for rows in (void, foreground))
    joined = Joined([], [], _doubled(candidates, masks))
    for label, rows in asked.items():
        found = candidates.get(label, [])
        frame = MatchedFrame(
            label,
            masks.index[rows[0]],
            masks.size[rows[0]],
            rows if pair.annotation_keys else [],
            _best(found, masks),
            found,
            hidden.get(label, -1),
            seen.get(label, -1),
        )
        joined.frames.append(frame)
        if len(frame.truth) > len(pair.annotation_keys):
            joined.wrong_truth.append(f"frame {label} is annotated twice; keep one row for each object and frame")
        _check_sizes(frame, rows, masks, joined)
    for side, rows, frames in (("void", void, hidden), ("foreground", foreground, seen)):
        if len(frames) < len(rows):
            joined.wrong_truth.append(f"{len(rows) - len(frames)} frames are {side} twice; keep one row for each")
    joined.frames.sort(key=lambda frame: frame.index)
    return joined


def _annotated_rows(pair: RequestedPair, masks: MaskTable) -> list[int]:
    """Of its objects; without any, of all objects of the video: frames in which there is nothing to be found."""
    tracks = [(pair.video_id, key) for key in sorted(set(pair.annotation_keys))]
    if not tracks:
        tracks = [track for track in masks.truth if track[0] == pair.video_id]
    return [row for track in tracks for row in masks.truth.get(track, [])]


def _best(rows: list[int], masks: MaskTable) -> int:
    """Of the candidates of a frame the one with the highest score, among equal ones the last."""
    if len(rows) < 2:
        return rows[0] if rows else -1
    return max(rows, key=lambda row: (-np.inf if masks.score[row] is None else masks.score[row], row))


def _doubled(candidates: dict[str | int, list[int]], masks: MaskTable) -> list[str]:
    """Several rows of one frame are fine if they are of different queries."""
    doubled = 0
    for rows in (rows for rows in candidates.values() if len(rows) > 1):
        queries = {masks.query[row] for row in rows}
        doubled += None in queries or len(queries) < len(rows)
    return [f"{doubled} frames are predicted twice; keep one row for each"] if doubled else []


def _check_sizes(frame: MatchedFrame, annotated: Sequence[int], masks: MaskTable, joined: Joined) -> None:
    """Note what differs in size from the first annotation of the frame."""
    height, width = frame.size
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        joined.wrong_truth.append(f"frame {frame.label}: size {height}x{width} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}")
    for side, rows, problems in (
        ("annotation", annotated, joined.wrong_truth),
        ("void mask", (frame.void,), joined.wrong_truth),
        ("foreground", (frame.foreground,), joined.wrong_truth),
        ("prediction", frame.candidates, joined.wrong_prediction),
    ):
        for row in rows:
            if row >= 0 and masks.size[row] != frame.size:
                sizes = f"annotation {height}x{width}, {side} {masks.size[row][0]}x{masks.size[row][1]}"
                text = "masks must have the video's own displayed size"
                problems.append(f"frame {frame.label}: sizes differ: {sizes}; {text}")
                return
