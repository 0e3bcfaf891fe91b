"""Annotated masks in Parquet: only the row groups of the wanted videos are read."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.masks import annotations
from pipeline.masks.annotations import Annotations
from schemas.masks import ANNOTATIONS


@pytest.mark.parametrize("wanted", [{"b"}, {"a", "d"}, {"", "aa", "z"}, {"a", "b", "c", "d"}])
def test_row_groups_without_wanted_videos_are_left_alone(tmp_path, monkeypatch, wanted):
    common = {"object_id": "1", "frame_index": 0, "frame_name": "0", "height": 2, "width": 2, "counts": b"4"}
    rows = [{"video_id": video} | common for video in "aabbccdd"]
    path = str(tmp_path / "annotations.parquet")
    pq.write_table(pa.Table.from_pylist(rows, ANNOTATIONS), path, row_group_size=3)  # aab bcc dd
    read = []
    monkeypatch.setattr(annotations, "_masks_only", lambda table: read.extend(table["video_id"].to_pylist()) or table)
    assert {*Annotations.open(path).rows(wanted)["video_id"].to_pylist()} == wanted & {*"abcd"}
    groups = ["aab", "bcc", "dd"]
    overlapping = [group for group in groups if any(group[0] <= video <= group[-1] for video in wanted)]
    assert "".join(read) == "".join(overlapping)
