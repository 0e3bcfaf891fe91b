"""Lists of URIs with sentences, from CSV, JSONL and Parquet."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import uri_list
from pipeline.datasets.common.expression_list import TWICE
from pipeline.io.manifest import read_manifest
from schemas.errors import InputError

ROWS = [
    {"video_uri": "s3://bucket/a/street.mp4", "expression": "a dog", "kind": "animal"},
    {"video_uri": "more/park.mp4", "expression": "a child", "kind": None},
    {"video_uri": "s3://bucket/a/street.mp4", "expression": "a cat", "kind": "animal"},
    {"video_uri": "s3://bucket/b/street.mp4", "expression": "a bus", "kind": None},
]


def write(tmp_path, rows, form):
    path = tmp_path / f"clips.{form}"
    if form == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        lines = [list(rows[0]), *([row[name] or "" for name in rows[0]] for row in rows)]
        path.write_text("\n".join(("\t" if form == "tsv" else ",").join(line) for line in lines))
    return str(path)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "parquet"])
def test_every_form(tmp_path, form):
    result = run(ImportConfig(dataset="list", root=write(tmp_path, ROWS, form), out=str(tmp_path / "out")))
    assert (result.videos, result.pairs, result.warnings, result.skipped) == (3, 4, (), ())
    rows = read_manifest(str(result.manifest)).to_pylist()
    assert {(row["video_uri"], row["expression_id"], row["expression"], row["kind"]) for row in rows} == {
        ("s3://bucket/a/street.mp4", "0", "a dog", "animal"),
        ("s3://bucket/a/street.mp4", "1", "a cat", "animal"),
        ("s3://bucket/b/street.mp4", "0", "a bus", None),
        (str(tmp_path / "more/park.mp4"), "0", "a child", None),
    }
    assert {row["video_id"][:7] for row in rows} == {"street-", "park-" + rows[0]["video_id"][5:7]}


def test_ids_stay_when_a_list_is_signed_again_or_grows(tmp_path):
    signed = [{"url": f"https://host/v.mp4?X-Amz-Signature={n}", "caption": "x"} for n in "ab"]
    ids = []
    for rows in (signed[:1], signed[1:], [*signed[1:], {"url": "https://host/other/v.mp4", "caption": "y"}]):
        videos = list(uri_list.read(write(tmp_path, rows, "csv")))
        ids.append({video.pairs[0]["expression"]: video.video_id for video in videos}["x"])
    assert len(set(ids)) == 1
    assert "Signature" not in ids[0]
    assert len({video.video_id for video in uri_list.read(write(tmp_path, signed, "csv"))}) == 2
    assert [text for text, _ in videos[0].warnings[:2]] == [
        "rows whose video_uri is the column 'url'",
        "rows whose expression is the column 'caption'",
    ]


def test_given_ids_several_sentences_and_nested_values(tmp_path):
    rows = [
        {"video_id": "v", "video": "a.mp4", "expression": ["x", "y"], "boxes": [1, 2], "year": 2020},
        {"video_id": "w", "video": "a.mp4", "expression": ["z"], "boxes": [], "year": 2021},
    ]
    for form in ("jsonl", "parquet"):
        first, second = uri_list.read(write(tmp_path, rows, form))
        assert first.pairs == [
            {"video_id": "v", "video_uri": str(tmp_path / "a.mp4"), "expression_id": id_, "expression": x, "year": 2020}
            for id_, x in (("0", "x"), ("1", "y"))
        ]
        assert second.video_id == "w"
        assert first.skipped == [(uri_list.NOT_PLAIN, "boxes of row 0"), (uri_list.NOT_PLAIN, "boxes of row 1")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "link,expression\na,b\n", "needs a column 'video_uri' or 'uri'"),
        ("a.csv", "url,label\na,b\n", "needs a column 'expression' or 'sentence'"),
        ("a.csv", "url,text\n,b\n", "row 0: no URI of a video"),
        ("a.csv", "url,text,video_id\na.mp4,x,v\nb.mp4,x,v\n", "video_id 'v' has two URIs"),
        ("a.csv", "url,text,video_id\na.mp4,x,../v\n", "cannot be a file name"),
        ("a.csv", "url,text,object_ids\na.mp4,x,1\n", "'object_ids' is a manifest column"),
        ("a.jsonl", '{"url": "a.mp4", "text": 3}', "'expression' must be a text"),
        ("a.jsonl", "[]", "must be a JSON object"),
        ("a.jsonl", "", "has no rows"),
        ("a.txt", "x", "must be .csv, .tsv, .jsonl, .ndjson or .parquet"),
    ],
)
def test_bad_lists(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        run(ImportConfig(dataset="list", root=str(tmp_path / name), out=str(tmp_path / "out")))


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_ids_that_pandas_wrote_as_floats(tmp_path, form):
    """A whole number is an id, and NaN is none, in all forms."""
    frame = pd.DataFrame({"video_uri": ["a.mp4", "a.mp4", "b.mp4"], "expression": ["x", "y", "z"]})
    frame = frame.assign(video_id=[7.0, 7.0, 8.0], expression_id=[1.0, 2.0, float("nan")])
    path = tmp_path / f"clips.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")))  # writes NaN
    else:
        frame.to_parquet(path)
    pairs = [pair for video in uri_list.read(str(path)) for pair in video.pairs]
    assert [(pair["video_id"], pair["expression_id"]) for pair in pairs] == [("7", "1"), ("7", "2"), ("8", "0")]
    large = frame.assign(expression_id=[2.0**53, 1.0, 2.0]).to_dict("records")
    with pytest.raises(InputError, match=r"row 0: expression_id 9007199254740992\.0 is a float, which rounds"):
        uri_list.read(write(tmp_path, large, "jsonl"))
    with pytest.raises(InputError, match=r"row 1: video_id is True; write a text or a whole number"):
        uri_list.read(write(tmp_path, [ROWS[0], ROWS[1] | {"video_id": True}], "jsonl"))


def test_rows_that_come_twice_are_said(tmp_path):
    (street, *_) = uri_list.read(write(tmp_path, [ROWS[0], ROWS[2], ROWS[0]], "jsonl"))
    assert (TWICE, f"row 2, {street.video_id} expression 2") in street.warnings
    (tmp_path / "twice.jsonl").write_text('{"video_uri": "a.mp4", "expression": "a", "expression": "b"}')
    with pytest.raises(InputError, match="row 0: not valid JSON: duplicate key 'expression'"):
        uri_list.read(str(tmp_path / "twice.jsonl"))
