"""Locate the masks of each pair, and cut pairs into tasks that each read few row groups."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.masks.pairs_to_score import MaskKey
from pipeline.masks.predictions import Predictions
from pipeline.masks.row_groups import RowGroup

TASK_ROWS = 2048  # rows of masks in a task: many enough to pay for its overhead, few enough to balance the load
TASK_PAIRS = 500  # in a task, however little it reads
ROW_GROUPS = pa.list_(
    pa.struct([("uri", pa.string()), ("group", pa.int64()), ("rows", pa.int64()), ("state", pa.string())])
)

Together = TypeVar("Together", str, MaskKey)  # what pairs of one task share: a video_id, or a pair on its own


def locate(predictions: Predictions, requested: Collection[MaskKey] = ()) -> dict[MaskKey, list[RowGroup]]:
    """Return the row groups that hold rows of each pair, in order.

    requested: the pairs to look up in label maps, which do not list pairs themselves.
    """
    located: dict[MaskKey, list[RowGroup]] = defaultdict(list)
    for row_group, keys in predictions.row_groups(requested):
        for key in keys:
            located[key].append(row_group)
    return dict(located)


def row_groups_by_video(located: Mapping[MaskKey, Sequence[RowGroup]]) -> dict[str, list[RowGroup]]:
    """Return the row groups of each video, in order."""
    videos: dict[str, set[RowGroup]] = defaultdict(set)
    for (video, _), row_groups in located.items():
        videos[video].update(row_groups)
    return {video: sorted(row_groups) for video, row_groups in videos.items()}


def plan_tasks(
    pairs: pa.Table, together: Sequence[Together], **row_groups: Mapping[Together, Sequence[RowGroup]]
) -> list[pa.Table]:
    """Cut `pairs` into tasks of at most TASK_PAIRS pairs that together have about TASK_ROWS rows of masks.

    together: one value for each pair; consecutive pairs with equal values stay in one task, whatever its size.
    row_groups: a column name for the row groups of each of these values; the first column decides on the cuts. The
    first row of a task lists its row groups, see `row_groups_of`.
    """
    if not together:
        return []
    sizing = next(iter(row_groups.values()))
    starts, held = [0], set[RowGroup]()
    for at, value in enumerate(together):
        if at and value == together[at - 1]:
            continue
        own = set(sizing.get(value, ()))
        large = sum(group.rows or TASK_ROWS for group in held | own) > TASK_ROWS  # size of a tree's video: unknown
        if at > starts[-1] and (at - starts[-1] >= TASK_PAIRS or (large and not own <= held)):
            starts.append(at)
            held = set()
        held |= own
    tasks = []
    for start, stop in zip(starts, [*starts[1:], len(together)], strict=True):
        task = pairs.slice(start, stop - start)
        for name, groups_of in row_groups.items():
            groups = sorted({group for value in set(together[start:stop]) for group in groups_of.get(value, ())})
            lists = [[group._asdict() for group in groups], *[[]] * (stop - start - 1)]
            task = task.append_column(name, pa.array(lists, ROW_GROUPS))
        tasks.append(task)
    return tasks


def row_groups_of(task: pa.Table, column: str = "row_groups") -> list[RowGroup]:
    """Return the row groups that a task reads."""
    return [RowGroup(**row_group) for row_group in pc.list_flatten(task[column]).to_pylist()]
