"""Folders of Parquet files as a manifest."""

import datetime
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io.manifest import manifest_digest, read_manifest
from pipeline.masks.annotations import Annotations
from pipeline.masks.predictions import open_predictions
from schemas.errors import InputError


def write(path, video, **columns) -> None:
    os.makedirs(path.parent, exist_ok=True)
    row = {"video_id": [video], "video_uri": [f"{video}.mp4"], "expression_id": ["0"], "expression": ["a dog"]}
    pq.write_table(pa.table(row | columns), path)


def test_a_folder_of_spark_is_a_manifest(tmp_path):
    folder = tmp_path / "m.parquet"
    write(folder / "part-00001-ab.snappy.parquet", "b", kind=pa.array(["x"], pa.large_string()))
    write(folder / "part-00000-ab.snappy.parquet", "a")
    for name in ("_SUCCESS", ".part-00000-ab.snappy.parquet.crc", "_metadata.parquet", "notes.txt"):
        (folder / name).write_bytes(b"")
    table = read_manifest(str(folder))
    assert table["video_id"].to_pylist() == ["a", "b"]
    assert table["video_uri"][0].as_py() == str(tmp_path / "a.mp4")  # as if the folder were one file
    assert table["kind"].to_pylist() == [None, "x"]
    before = manifest_digest(str(folder))
    write(folder / "part-00002.parquet", "c")
    assert manifest_digest(str(folder)) != before


def test_partitions_are_columns(tmp_path):
    folder = tmp_path / "m"
    write(folder / "split=train" / "kind=a%20b" / "0.parquet", "a")
    write(folder / "split=__HIVE_DEFAULT_PARTITION__" / "0.parquet", "b")
    rows = read_manifest(str(folder)).to_pylist()
    assert {(row["video_id"], row["split"], row["kind"]) for row in rows} == {("a", "train", "a b"), ("b", None, None)}


@pytest.mark.parametrize(("value", "folder"), [("a", "a"), (7, "7"), (None, "__HIVE_DEFAULT_PARTITION__")])
def test_a_folder_may_repeat_a_column(tmp_path, value, folder):
    """DuckDB writes the columns of its partitions to the files, too."""
    write(tmp_path / "m" / f"kind={folder}" / "0.parquet", "a", kind=[value])
    assert read_manifest(str(tmp_path / "m"))["kind"].to_pylist() == [value]
    write(tmp_path / "m" / "kind=other" / "1.parquet", "b", kind=[value])
    with pytest.raises(InputError, match=f"has the value {value!r}, but its folder says 'other'"):
        read_manifest(str(tmp_path / "m"))


@pytest.mark.parametrize("name", ["b.csv", "b.jsonl.gz", "b.arrow", "b.parquet.gz", "part-1.parquet.tmp"])
def test_tables_of_another_form_are_not_left_out(tmp_path, name):
    write(tmp_path / "m" / "0.parquet", "a")
    (tmp_path / "m" / "README.md").write_text("x")
    read_manifest(str(tmp_path / "m"))
    (tmp_path / "m" / name).write_text("x")
    with pytest.raises(InputError, match=f"{name} is a table, but not a Parquet file; convert it"):
        read_manifest(str(tmp_path / "m"))


def test_what_is_no_table_is_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no Parquet files"):
        read_manifest(str(tmp_path / "empty"))
    write(tmp_path / "m" / "0.parquet", "a", kind=[1])
    write(tmp_path / "m" / "1.parquet", "b", kind=[["x"]])
    with pytest.raises(InputError, match="different types"):
        read_manifest(str(tmp_path / "m"))


def test_the_index_of_pandas_is_no_attribute(tmp_path):
    write(tmp_path / "m.parquet", "a", __index_level_0__=[7])
    assert "__index_level_0__" not in read_manifest(str(tmp_path / "m.parquet")).column_names


def test_two_columns_of_one_name_are_named(tmp_path):
    names = ["video_id", "video_uri", "expression_id", "expression", "expression"]
    table = pa.Table.from_arrays([pa.array([name]) for name in "abcde"], names=names)
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(InputError, match="it has 2 columns 'expression'; rename or remove all but one"):
        read_manifest(str(tmp_path / "m.parquet"))


@pytest.mark.parametrize(
    ("name", "form"),
    [("_delta_log/0.json", "Delta Lake"), (".hoodie/x", "Hudi"), ("metadata/v1.metadata.json", "Iceberg")],
)
def test_tables_with_versions_hold_rows_that_were_deleted(tmp_path, name, form):
    write(tmp_path / "m" / "0.parquet", "a")
    (tmp_path / "m" / name).parent.mkdir()
    (tmp_path / "m" / name).write_text("{}")
    for read in (read_manifest, Annotations.open, open_predictions):
        with pytest.raises(InputError, match=f"m is a table of {form}, whose files also hold rows that were deleted"):
            read(str(tmp_path / "m"))


def test_a_folder_that_spark_has_not_finished(tmp_path):
    write(tmp_path / "m" / "part-0.parquet", "a")
    write(tmp_path / "m" / "_temporary" / "0" / "part-1.parquet", "b")
    for read in (read_manifest, Annotations.open, open_predictions):
        with pytest.raises(InputError, match="has a folder _temporary and no _SUCCESS: Spark or Hadoop"):
            read(str(tmp_path / "m"))
    (tmp_path / "m" / "_SUCCESS").touch()
    assert read_manifest(str(tmp_path / "m"))["video_id"].to_pylist() == ["a"]


def test_parts_as_spark_writes_them(tmp_path):
    """INT96 times, lists of two levels, an empty part, parts with other orders of columns and with null types."""
    folder = tmp_path / "m"
    old = {"use_deprecated_int96_timestamps": True, "use_compliant_nested_type": False, "compression": "snappy"}
    rows = [
        {"video_id": video, "video_uri": "v.mp4", "expression_id": "0", "expression": "a dog", "frames": frames}
        | {"made": datetime.datetime(2024, 1, 1)}
        for video, frames in (("a", ["0", "1"]), ("b", None), ("c", ["2"]))
    ]
    folder.mkdir()
    whole = pa.Table.from_pylist(rows)
    reverse = whole.column_names[::-1]
    parts = [whole.slice(0, 1), whole.slice(0, 0), pa.Table.from_pylist(rows[1:2]), whole.slice(2).select(reverse)]
    assert pa.types.is_null(parts[2].schema.field("frames").type)
    for number, part in enumerate(parts):
        pq.write_table(part, folder / f"part-{number:05}-5f0e-c000.snappy.parquet", **old)
    pq.write_metadata(whole.schema, folder / "_metadata")
    (folder / "_SUCCESS").touch()
    table = read_manifest(str(folder))
    assert table.select(whole.column_names).to_pylist() == [
        row | {"video_uri": str(tmp_path / "v.mp4"), "made": row["made"]} for row in rows
    ]
