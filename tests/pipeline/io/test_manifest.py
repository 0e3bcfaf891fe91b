import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io.manifest import as_named, read_manifest, row_problems, uri_problem, with_absolute_uris
from schemas.errors import InputError

ROW = {"video_id": "v", "video_uri": "v.mp4", "expression_id": "0", "expression": "a dog"}


def write(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_relative_uris_count_from_the_manifest(tmp_path):
    rows = [ROW, ROW | {"video_id": "w", "video_uri": "s3://b/w.mp4"}, ROW | {"video_id": "x", "video_uri": ""}]
    table = read_manifest(write(tmp_path / "m.parquet", rows))
    assert table["video_uri"].to_pylist() == [str(tmp_path / "v.mp4"), "s3://b/w.mp4", ""]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([ROW, ROW], r"row 2 \(counted from 1\): video_id=v expression_id=0 occurs 2 times"),
        ([ROW, ROW | {"expression_id": "1", "video_uri": "w.mp4"}], r"row 2 \(counted from 1\): video_id=v has 2 URIs"),
        ([ROW | {"video_id": None}], "column 'video_id'"),
        ([{"video_id": "v"}], "column 'expression' is missing"),
    ],
)
def test_what_is_refused_before_work_starts(tmp_path, rows, text):
    with pytest.raises(InputError, match=text):
        read_manifest(write(tmp_path / "m.parquet", rows))


def test_an_empty_and_a_missing_manifest(tmp_path):
    pq.write_table(pa.Table.from_pylist([ROW]).slice(0, 0), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="has no rows"):
        read_manifest(str(tmp_path / "m.parquet"))
    with pytest.raises(InputError, match="no manifest at"):
        read_manifest(str(tmp_path / "n.parquet"))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"expression": " "}, "empty"),
        ({"expression": None}, "empty"),
        ({"expression": "x" * 20_000}, "16384 bytes"),
        ({"video_uri": ""}, "video_uri is empty"),
        ({"frames": ["0"], "frame_indices": [0]}, "keep one"),
        ({"frames": []}, "empty list"),
        ({"frames": ["0", None]}, "null"),
        ({"frame_indices": [1, 1]}, "duplicate"),
        ({"frame_indices": [-1]}, "negative"),
        ({"frames": ["0"], "target_frames": ["1"]}, "not in frames: 1"),
        ({"num_frames": 0}, "must be positive"),
    ],
)
def test_problems_of_one_row(change, text):
    problems = list(row_problems(ROW | change))
    assert len(problems) == 1
    assert text in problems[0]


def test_nulls_among_frames_and_targets_are_problems():
    problems = list(row_problems(ROW | {"frames": ["0", None], "target_frames": ["1", None]}))
    assert [text.partition(":")[0] for text in problems] == [
        "frames contains a null", "target_frames contains a null", "target_frames has frames that are not in frames",
    ]  # fmt: skip


def test_a_good_row_has_no_problem():
    assert list(row_problems(ROW | {"frames": ["00000", "00005"], "target_frames": ["00005"]})) == []


def test_rows_of_a_remote_folder_name_no_file_of_this_machine():
    uris = ["/home/me/v.mp4", "file:///home/me/v.mp4", "tar://v.mp4::/home/me/x.tar", "s3://b/v.mp4"]
    table = pa.table({"video_uri": pa.chunked_array([uris])})
    there = with_absolute_uris(table, "s3://stranger/run")["video_uri"]
    assert ["on this machine" in (uri_problem(uri) or "") for uri in there.to_pylist()] == [True, True, True, False]
    named = ["/home/me/v.mp4", "/home/me/v.mp4", "tar://v.mp4::/home/me/x.tar", "s3://b/v.mp4"]
    assert as_named(there).to_pylist() == named  # as it is written into another manifest
    for folder, allow_local in (("s3://stranger/run", True), ("/home/me/run", False)):
        assert with_absolute_uris(table, folder, allow_local=allow_local)["video_uri"].to_pylist() == named
