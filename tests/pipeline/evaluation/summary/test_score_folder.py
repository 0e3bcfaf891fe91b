"""Scores that another program wrote or damaged are refused where they are read, with the field at fault."""

import json

import pyarrow as pa
import pytest

from pipeline.evaluation.summary.score_folder import ScoreFolder, plain_scores
from schemas.check import SchemaError
from schemas.errors import InputError

SUMMARY = {
    "protocol": "mevis",
    "missing_rule": "zero",
    "pairs": {"scored": 1},
    "frames": {"scored": 3, "missing": 0},
    "overall": {"n": 1, "videos": 1, "J": 0.5, "F": None, "interval": {"J": [0.1, 0.9], "F": None}},
    "by": {"kind": [{"value": "motion", "n": 1, "videos": 1, "J": 0.5}]},
    "warnings": ["few videos"],
    "failed_pairs": [{"video_id": "a", "expression_id": None, "error": "no file"}],
}
ROWS = {"video_id": ["a", "a"], "metric": ["J", "F"], "value": [0.5, None]}


def opened(tmp_path, **changes) -> ScoreFolder:
    (tmp_path / "summary.json").write_text(json.dumps(SUMMARY | changes))
    return ScoreFolder.open(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("overall", [None, [], {}, {"n": "1"}, {"n": 1, "J": [[]]}, {"n": 1, "J": True}, {"n": 1, "J": 1e999}]),
        ("overall", [{"n": 1, "J": 0.5, "interval": value} for value in ([], {"J": 3}, {"J": [1]}, {"J": ["a", 1]})]),
        ("pairs", [None, "x", {"scored": "1"}, {"scored": -1}, {"scored": 1.5}]),
        ("frames", [None, {}, {"scored": 1}, {"scored": None, "missing": 0}]),
        ("by", ["x", {"kind": None}, {"kind": [None]}, {"kind": [{"n": 1}]}, {"kind": [{"value": "a", "n": None}]}]),
        ("by", [{"kind": [{"value": "a", "n": 1}]}, {"kind": [{"n": 1, "videos": 1}]}]),
        ("warnings", [None, "x", [3]]),
        ("failed_pairs", [None, "xx", ["x"], [{"video_id": 3}]]),
        ("missing_rule", [None, 3, []]),
        ("predictions", [3, []]),
    ],
)
def test_fields_that_cannot_be_used_are_named(tmp_path, name, values):
    assert opened(tmp_path).metrics == ["J", "F"]
    for value in values:
        with pytest.raises(InputError, match=rf"\({name} cannot be used\)"):
            opened(tmp_path, **{name: value})


def test_ids_that_a_table_lacks_are_empty():
    rows = plain_scores(pa.table(ROWS), "scores.parquet")
    assert rows["object_id"].tolist() == rows["expression_id"].tolist() == ["", ""]


def test_rows_that_would_count_twice_are_refused():
    with pytest.raises(
        InputError, match=r"row 2 \(counted from 1\): the pair video_id=a expression_id= has two rows of J"
    ):
        plain_scores(pa.table(ROWS | {"metric": ["J", "J"]}), "scores.parquet")
    with pytest.raises(SchemaError, match="'metric' is missing"):
        plain_scores(pa.table({"video_id": ["a"]}), "scores.parquet")
