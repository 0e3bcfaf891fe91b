import pickle

import pyarrow as pa
import pytest

from schemas.check import Problem, SchemaError, add_missing_columns, conform
from schemas.errors import MediaError
from schemas.manifest import MANIFEST, attribute_columns
from schemas.masks import PREDICTIONS

ROW = {"video_id": ["v"], "video_uri": ["v.mp4"], "expression_id": ["0"], "expression": ["a dog"]}


def test_declared_columns_come_first_and_attributes_stay():
    table = conform(pa.table({"category": ["dog"], **ROW, "num_frames": pa.array([3], pa.int64())}), MANIFEST, "m")
    assert table.column_names == ["video_id", "video_uri", "expression_id", "expression", "num_frames", "category"]
    assert table.schema.field("num_frames").type == pa.int32()


def test_large_and_dictionary_strings_are_strings():
    columns = {name: pa.array(values, pa.large_string()).dictionary_encode() for name, values in ROW.items()}
    assert conform(pa.table(columns), MANIFEST, "m").schema.field("video_id").type == pa.string()


def test_columns_that_are_not_there_become_null():
    table = add_missing_columns(pa.table({"more": [1], **ROW}), MANIFEST)
    assert table.schema.equals(MANIFEST, check_metadata=True)
    assert (table["expression"].to_pylist(), table["num_frames"].to_pylist()) == (["a dog"], [None])


def test_all_column_problems_are_listed_at_once():
    table = pa.table({"video_id": [True], "video_uri": ["v"], "expression_id": ["0"]})
    with pytest.raises(SchemaError) as caught:
        conform(table, MANIFEST, "m.parquet")
    text = str(caught.value)
    assert "m.parquet: column 'expression' is missing" in text
    assert "column 'video_id' has type bool, expected string" in text


def test_null_ids_name_the_first_row():
    table = pa.table({**ROW, "video_id": pa.array([None], pa.string())})
    with pytest.raises(SchemaError, match=r"m row 1 \(counted from 1\): column 'video_id' is null in 1 row,"):
        conform(table, MANIFEST, "m")


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(SchemaError, match="num_frames"):
        conform(pa.table({**ROW, "num_frames": [2**40]}), MANIFEST, "m")


def test_float_boxes_of_variable_lists_become_fixed():
    table = pa.table({
        "video_id": ["v"], "expression_id": ["0"], "frame_index": [0], "height": [2], "width": [2],
        "counts": [b"4"], "box": [[0.0, 0.0, 1.0, 1.0]],
    })  # fmt: skip
    assert conform(table, PREDICTIONS, "p").schema.field("box").type == pa.list_(pa.float32(), 4)


def test_attribute_columns():
    assert attribute_columns(["video_id", "expression", "annotator", "category", "split"]) == [
        "annotator",
        "category",
        "split",
    ]


def test_errors_survive_the_way_between_processes():
    error = pickle.loads(pickle.dumps(MediaError("corrupt", "no frame", 7)))
    assert (error.status, str(error)) == ("corrupt", "frame 7: no frame")
    problems = pickle.loads(pickle.dumps(SchemaError([Problem("m", 3, "bad")])))
    assert str(problems) == "m row 4 (counted from 1): bad"


def test_the_same_problem_of_many_rows_has_one_line():
    problems = [Problem("m.parquet", row, "'size' must be a number") for row in range(30)]
    problems += [Problem("m.parquet", 3, "'kind' is empty"), Problem("m.parquet", 4, "'kind' is empty")]
    problems += [Problem("m.parquet", None, "column 'a' is missing"), *(Problem("b", n, str(n)) for n in range(20))]
    lines = str(SchemaError(problems)).splitlines()
    assert lines[:4] == [
        "m.parquet row 1 (counted from 1) and 29 other rows: 'size' must be a number",
        "m.parquet row 4 (counted from 1) and 1 other row: 'kind' is empty",
        "m.parquet: column 'a' is missing",
        "b row 1 (counted from 1): 0",
    ]
    assert (len(lines), lines[-1]) == (21, "... and 3 more")
