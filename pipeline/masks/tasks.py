"""Locate the masks of each pair, and cut pairs into tasks that each read few row groups."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.masks.pairs_to_score import MaskKey
from pipeline.masks.predictions import Predictions
from pipeline.masks.row_groups import RowGroup

TASK_ROWS = 2048  # rows of masks in a task: many enough to pay for its overhead, few enough to balance the load
TASK_PAIRS = 500  # in a task that reads little
ROW_GROUPS = pa.list_(pa.struct([("uri", pa.string()), ("group", pa.int64()), ("rows", pa.int64())]))

RowGroupsByVideo = Mapping[str, Sequence[RowGroup]]


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


def plan_tasks(pairs: pa.Table, **row_groups: RowGroupsByVideo) -> list[pa.Table]:
    """Cut `pairs`, sorted by video_id, into tasks: whole videos that together have about TASK_ROWS rows of masks.

    row_groups: a column name for the row groups of each video; the first column decides on the cuts. The first row of a
    task lists its row groups, see `row_groups_of`.
    """
    sizing = next(iter(row_groups.values()))
    videos = pairs["video_id"].to_pylist()
    starts, held = [0], set[RowGroup]()
    for at, video in enumerate(videos):
        if at and video == videos[at - 1]:
            continue
        own = set(sizing.get(video, ()))
        adds_rows = not own <= held
        large = sum(group.rows or TASK_ROWS for group in held | own) > TASK_ROWS  # size of a tree's video: unknown
        many = at - starts[-1] >= TASK_PAIRS and (adds_rows or not own)
        if at > starts[-1] and (many or (adds_rows and large)):
            starts.append(at)
            held = set()
        held |= own
    tasks = []
    for start, stop in zip(starts, [*starts[1:], len(videos)], strict=True):
        task = pairs.slice(start, stop - start)
        for name, of_video in row_groups.items():
            groups = sorted({group for video in set(videos[start:stop]) for group in of_video.get(video, ())})
            lists = [[group._asdict() for group in groups], *[[]] * (stop - start - 1)]
            task = task.append_column(name, pa.array(lists, ROW_GROUPS))
        tasks.append(task)
    return tasks if videos else []


def row_groups_of(task: pa.Table, column: str = "row_groups") -> list[RowGroup]:
    """Return the row groups that a task reads."""
    return [RowGroup(**row_group) for row_group in pc.list_flatten(task[column]).to_pylist()]
