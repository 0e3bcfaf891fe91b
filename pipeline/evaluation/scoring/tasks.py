"""Cut an evaluation into tasks: each a few pairs, and the pieces of the predictions in which they lie."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from pipeline.masks.predictions import ParquetPredictions, Predictions, RowGroup
from pipeline.masks.requested import REQUESTED, MaskKey
from schemas.errors import InputError, pair_message

PAIRS_WITHOUT_PREDICTION = 500  # of one task
TASK_ROWS = 2048  # of predictions: enough that a task's own cost does not count, few enough to share out

PIECES = pa.field("pieces", pa.list_(pa.struct([("place", pa.string()), ("group", pa.int64()), ("rows", pa.int64())])))
TASK = REQUESTED.append(PIECES)  # a task is a table; all of its rows have the same pieces


def plan_tasks(source: Predictions, asked: pa.Table, *, whole_videos: bool) -> tuple[list[pa.Table], list[MaskKey]]:
    """Tables of TASK that hold every row of `asked` once, and the pairs that are predicted but not asked for.

    Pairs that lie in the same pieces share a task, and so do small neighbours in one table; with `whole_videos` all
    pairs of a video do. Those of which there is no prediction have tasks without pieces. Raises InputError if a pair
    lies in two tables.
    """
    keys = list(zip(asked["video_id"].to_pylist(), _things(asked), strict=True))
    rows = {key: row for row, key in enumerate(keys)}
    if isinstance(source, ParquetPredictions):
        pieces, extra = _locate(source.pieces(), rows)
    else:
        pieces, extra = _locate(source.row_groups_of(keys), rows)[0], source.extra(keys)
    if whole_videos:
        pieces = _share_within_videos(pieces, keys)
    groups: dict[tuple[RowGroup, ...], list[int]] = {}
    without: list[int] = []
    for row in range(len(keys)):
        if row in pieces:
            groups.setdefault(tuple(pieces[row]), []).append(row)
        else:
            without.append(row)
    tasks = [_task(asked, of, pieces) for pieces, of in _merged(groups)]
    without.sort(key=lambda row: keys[row])
    for start in range(0, len(without), PAIRS_WITHOUT_PREDICTION):
        tasks.append(_task(asked, without[start : start + PAIRS_WITHOUT_PREDICTION], ()))
    return tasks, extra


def _merged(groups: dict[tuple[RowGroup, ...], list[int]]) -> Iterator[tuple[list[RowGroup], list[int]]]:
    """Groups that follow each other in one table, put together as long as they have no more than TASK_ROWS rows."""
    pieces: set[RowGroup] = set()
    rows: list[int] = []
    for of in sorted(groups):
        both = pieces.union(of)
        large = sum(piece.rows for piece in both) > TASK_ROWS or not of[0].rows
        if rows and (large or next(iter(pieces)).place != of[0].place):
            yield sorted(pieces), rows
            both, rows = set(of), []
        pieces, rows = both, rows + groups[of]
    if rows:
        yield sorted(pieces), rows


def row_groups_of(task: pa.Table) -> list[RowGroup]:
    """The pieces that a task reads."""
    return [RowGroup(**piece) for piece in task["pieces"][0].as_py()]


def _things(asked: pa.Table) -> Iterable[str]:
    """Per row, what its predictions are called: the expression, or the object."""
    expressions, objects = asked["expression_id"].to_pylist(), asked["object_ids"]
    return [
        (objects[row].as_py() or [""])[0] if expression is None else expression
        for row, expression in enumerate(expressions)
    ]


def _locate(
    pieces: Iterable[tuple[RowGroup, Sequence[MaskKey]]], rows: dict[MaskKey, int]
) -> tuple[dict[int, list[RowGroup]], list[MaskKey]]:
    """The pieces of each row, and the pairs that have none."""
    found: dict[int, list[RowGroup]] = {}
    extra: set[MaskKey] = set()
    for piece, keys in pieces:
        for key in keys:
            if key not in rows:
                extra.add(key)
                continue
            there = found.setdefault(rows[key], [])
            if there and there[0].place != piece.place:
                text = f"predicted in {there[0].place} and in {piece.place}; write each pair into one table, once"
                raise InputError(pair_message(*key, text))
            there.append(piece)
    return found, sorted(extra)


def _share_within_videos(pieces: dict[int, list[RowGroup]], keys: Sequence[MaskKey]) -> dict[int, list[RowGroup]]:
    """All pairs of a video get the pieces of each of them, those without prediction too."""
    shared: dict[str, set[RowGroup]] = {}
    for row, of in pieces.items():
        shared.setdefault(keys[row][0], set()).update(of)
    return {row: sorted(shared[video]) for row, (video, _) in enumerate(keys) if video in shared}


def _task(asked: pa.Table, rows: Sequence[int], pieces: Sequence[RowGroup]) -> pa.Table:
    place = pa.array([[piece._asdict() for piece in pieces]] * len(rows), PIECES.type)
    return asked.take(pa.array(rows, pa.int64())).append_column(PIECES, place)
