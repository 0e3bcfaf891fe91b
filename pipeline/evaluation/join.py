"""Bring together what belongs to one frame of one pair: annotated masks, predicted mask, void pixels."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.evaluation.pairs import Pair
from schemas.rle import MAX_SIDE


class Match(NamedTuple):
    """One frame that counts. Numbers are rows of `Masks`, -1: there is none."""

    label: str | int  # the name or index by which it was matched
    index: int
    size: tuple[int, int]  # height, width
    truth: list[int]  # the objects that the pair means, present in this frame or not
    prediction: int
    void: int


class Masks:
    """The masks of one predictions table with all that may be needed to score them, as one list of rows."""

    def __init__(self, predictions: pa.Table, truth: pa.Table, truth_key: str, void: pa.Table | None):
        tables = [predictions, truth, *([] if void is None else [void])]
        names = ("frame_index", "frame_name", "height", "width", "counts")
        rows = pa.concat_tables(
            [table.select([name for name in names if name in table.column_names]) for table in tables],
            promote_options="default",
        )
        self.index = rows["frame_index"].to_pylist()
        self.name = rows["frame_name"].to_pylist() if "frame_name" in rows.column_names else [None] * len(rows)
        self.height = rows["height"].fill_null(0).to_numpy().astype(np.int64)
        self.width = rows["width"].fill_null(0).to_numpy().astype(np.int64)
        self.counts = rows["counts"].cast(pa.large_binary()).combine_chunks()
        self.predictions = self._tracks(predictions, ("video_id", "expression_id"), 0)
        self.truth = self._tracks(truth, ("video_id", truth_key), len(predictions))
        self.void = {} if void is None else self._tracks(void, ("video_id",), len(predictions) + len(truth))

    def _tracks(self, table: pa.Table, keys: Iterable[str], start: int) -> dict[tuple[str, ...], list[int]]:
        """Rows with a frame, by track."""
        tracks: dict[tuple[str, ...], list[int]] = {}
        for row, track in enumerate(zip(*(table[key].to_pylist() for key in keys), strict=True), start):
            if self.index[row] is not None:
                tracks.setdefault(track, []).append(row)
        return tracks


def match_frames(pair: Pair, masks: Masks) -> tuple[list[Match], list[str]]:
    """The frames of a pair that count, by index, and what is wrong with them, in words.

    These are all annotated frames that the pair was asked for. They are matched by name where all rows of the pair on
    all sides have one, else by index.
    """
    predicted = masks.predictions.get(pair.key, [])
    void = masks.void.get((pair.video_id,), [])
    annotated = _annotated_rows(pair, masks)
    named = all(masks.name[row] is not None for rows in (predicted, annotated, void) for row in rows)
    labels: list[Any] = masks.name if named else masks.index
    asked: dict[str | int, list[int]] = {}
    for row in annotated:
        if pair.asked.takes(masks.index[row], masks.name[row]):
            asked.setdefault(labels[row], []).append(row)
    found, hidden = ({labels[row]: row for row in rows} for rows in (predicted, void))
    matches: list[Match] = []
    problems: list[str] = []
    for label, rows in asked.items():
        size = int(masks.height[rows[0]]), int(masks.width[rows[0]])
        truth = rows if pair.truth else []
        match = Match(label, masks.index[rows[0]], size, truth, found.get(label, -1), hidden.get(label, -1))
        if len(truth) > len(pair.truth):
            problems.append(f"frame {label} is annotated twice; keep one row for each object and frame")
        problems += _size_problem(match, rows, masks)
        matches.append(match)
    for side, rows, frames in (("predicted", predicted, found), ("void", void, hidden)):
        if len(frames) < len(rows):
            problems.append(f"{len(rows) - len(frames)} frames are {side} twice; keep one row for each")
    matches.sort(key=lambda match: match.index)
    return matches, problems


def _annotated_rows(pair: Pair, masks: Masks) -> list[int]:
    """Of its objects; without any, of all objects of the video: frames in which there is nothing to be found."""
    tracks = [(pair.video_id, key) for key in pair.truth]
    if not tracks:
        tracks = [track for track in masks.truth if track[0] == pair.video_id]
    return [row for track in tracks for row in masks.truth.get(track, [])]


def _size_problem(match: Match, annotated: list[int], masks: Masks) -> list[str]:
    rows = [("annotation", row) for row in annotated]
    rows += [(side, row) for side, row in (("prediction", match.prediction), ("void mask", match.void)) if row >= 0]
    for side, row in rows:
        height, width = int(masks.height[row]), int(masks.width[row])
        if (height, width) != match.size:
            sizes = f"annotation {match.size[0]}x{match.size[1]}, {side} {height}x{width}"
            return [f"frame {match.label}: sizes differ: {sizes}; masks must have the video's own displayed size"]
    if not all(0 < side <= MAX_SIDE for side in match.size):
        return [f"frame {match.label}: size {match.size[0]}x{match.size[1]} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}"]
    return []
