"""Tasks: few rows or few pairs each, and what belongs together stays in one."""

import pyarrow as pa
import pytest

from pipeline.masks.row_groups import RowGroup
from pipeline.masks.task_planning import plan_tasks, row_groups_by_video, row_groups_of


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("pipeline.masks.task_planning.TASK_ROWS", 100)
    monkeypatch.setattr("pipeline.masks.task_planning.TASK_PAIRS", 4)


def plan(located, whole_videos):
    keys = sorted(located)
    pairs = pa.Table.from_pylist([{"video_id": video, "expression_id": name} for video, name in keys])
    if whole_videos:
        return plan_tasks(pairs, [video for video, _ in keys], row_groups=row_groups_by_video(located))
    return plan_tasks(pairs, keys, row_groups=located)


def test_a_long_video_is_cut_between_pairs_unless_it_must_be_whole():
    located = {("v", str(n)): [RowGroup("a", n, 60)] for n in range(3)}
    assert [len(task) for task in plan(located, whole_videos=False)] == [1, 1, 1]
    assert [row_groups_of(task) for task in plan(located, whole_videos=False)] == list(located.values())
    assert [len(task) for task in plan(located, whole_videos=True)] == [3]


@pytest.mark.parametrize("whole_videos", [False, True])
def test_one_large_row_group_is_shared_by_several_tasks(whole_videos):
    located = {(f"v{n}", "0"): [RowGroup("a", 0, 100_000)] for n in range(10)}
    tasks = plan(located, whole_videos)
    assert [len(task) for task in tasks] == [4, 4, 2]
    assert all(row_groups_of(task) == [RowGroup("a", 0, 100_000)] for task in tasks)


def test_pairs_without_masks_have_tasks_too():
    pairs = pa.table({"video_id": ["a", "b"]})
    (task,) = plan_tasks(pairs, ["a", "b"], row_groups={})
    assert (len(task), row_groups_of(task)) == (2, [])
    assert plan_tasks(pairs.slice(0, 0), [], row_groups={}) == []
