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


def test_annotations_in_folders_of_partitions(tmp_path):
    """Spark: partitionBy("video_id", "object_id"); the columns of the folders are not in the files."""
    rows = [{"frame_index": n, "frame_name": str(n), "height": 2, "width": 2, "counts": b"4"} for n in range(3)]
    for video, folder in (("a b", "a%20b"), ("7", "7")):
        path = tmp_path / f"video_id={folder}" / "object_id=1"
        path.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist([row | {"note": video} for row in rows]), path / "part-0.parquet")
    (tmp_path / "_SUCCESS").touch()
    found = Annotations.open(str(tmp_path))
    assert found.key == "object_id"
    assert found.keys_by_video() == {"a b": {"1"}, "7": {"1"}}
    read = found.rows(["a b"])
    assert read.select(["video_id", "object_id", "frame_index"]).to_pylist() == [
        {"video_id": "a b", "object_id": "1", "frame_index": n} for n in range(3)
    ]
    assert read.schema.names == ANNOTATIONS.names
