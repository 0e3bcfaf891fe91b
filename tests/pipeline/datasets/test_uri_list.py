"""Lists of URIs with sentences, from CSV, JSONL and Parquet."""

import datetime
import json
import os
import socketserver
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import uri_list
from pipeline.datasets.common import listed_rows, plain_ids
from pipeline.datasets.common.dataset_video import NO_EXPRESSIONS
from pipeline.datasets.common.expression_list import LINE_BREAK, TWICE
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
    in_table = ("row 1 (counted from 1)", "row 2 (counted from 1)")
    for form, places in (("jsonl", ("line 1", "line 2")), ("parquet", in_table)):
        first, second = uri_list.read(write(tmp_path, rows, form))
        assert first.pairs == [
            {"video_id": "v", "video_uri": str(tmp_path / "a.mp4"), "expression_id": id_, "expression": x, "year": 2020}
            for id_, x in (("0", "x"), ("1", "y"))
        ]
        assert second.video_id == "w"
        assert first.skipped == [(uri_list.NOT_PLAIN, f"boxes of {place}") for place in places]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "link,expression\na,b\n", "needs a column 'video_uri' or 'uri'"),
        ("a.csv", "url,label\na,b\n", "needs a column 'expression' or 'sentence'"),
        ("a.csv", "url,text\n,b\n", "line 2: no URI of a video"),
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
    with pytest.raises(InputError, match=r"line 1: expression_id 9007199254740992\.0 is a float, which rounds"):
        uri_list.read(write(tmp_path, large, "jsonl"))
    with pytest.raises(InputError, match=r"line 2: video_id is True; write a text or a whole number"):
        uri_list.read(write(tmp_path, [ROWS[0], ROWS[1] | {"video_id": True}], "jsonl"))


def test_rows_that_come_twice_are_said(tmp_path):
    (street, *_) = uri_list.read(write(tmp_path, [ROWS[0], ROWS[2], ROWS[0]], "jsonl"))
    assert (TWICE, f"line 3, {street.video_id} expression 2") in street.warnings
    (tmp_path / "twice.jsonl").write_text('{"video_uri": "a.mp4", "expression": "a", "expression": "b"}')
    with pytest.raises(InputError, match="line 1: not valid JSON: duplicate key 'expression'"):
        uri_list.read(str(tmp_path / "twice.jsonl"))


def pairs_of(path) -> list[tuple[str, str, str]]:
    found = [pair for video in uri_list.read(str(path)) for pair in video.pairs]
    return [(pair["video_id"], pair["expression_id"], pair["expression"]) for pair in found]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [([7.0, 7, 8], ["7", "7", "8"]), (["7.0", "7", "8.0"], ["7", "7", "8"]), (["7.0", "a", "7"], ["7", "7.0", "a"])],
)
def test_a_whole_number_is_one_id_in_all_its_forms(tmp_path, ids, expected):
    rows = [
        {"video_uri": f"{id_ if 'a' in ids else str(id_).split('.')[0]}.mp4", "expression": "x", "video_id": id_}
        for id_ in ids
    ]
    assert [video for video, *_ in pairs_of(write(tmp_path, rows, "jsonl"))] == expected


def test_numbers_with_a_fraction_and_nan_are_no_ids(tmp_path):
    rows = [{"video_uri": "a.mp4", "expression": str(id_), "expression_id": id_} for id_ in (1.5, 2.0)]
    for form in ("jsonl", "parquet"):
        with pytest.raises(InputError, match="1.*: expression_id is 1.5, not a whole number; write a text"):
            uri_list.read(write(tmp_path, rows, form))
    texts = [row | {"expression_id": str(row["expression_id"])} for row in rows]
    assert [id_ for _, id_, _ in pairs_of(write(tmp_path, texts, "csv"))] == ["1.5", "2.0"]  # texts, as of versions
    missing = [row | {"expression_id": id_} for row, id_ in zip(rows, ("NaN", "<NA>"), strict=True)]
    (video,) = uri_list.read(write(tmp_path, missing, "csv"))
    assert [pair["expression_id"] for pair in video.pairs] == ["0", "1"]
    assert (plain_ids.NO_ID, "expression_id NaN of line 2") in video.warnings


def test_a_uri_that_cannot_be_used_costs_its_row_only(tmp_path):
    uris = ["hf://datasets/x/v.mp4", "a.mp4", "ftp://host/v.mp4", "https:///v.mp4"]
    rows = [{"video_uri": uri, "expression": "x"} for uri in uris]
    result = run(ImportConfig(dataset="list", root=write(tmp_path, rows, "csv"), out=str(tmp_path / "out")))
    assert (result.videos, result.pairs) == (1, 1)
    ((skipped),) = result.skipped
    assert (skipped.reason, skipped.count) == (uri_list.BAD_URI, 3)
    assert "line 2: hf://datasets/x/v.mp4: scheme 'hf' is not supported" in skipped.line()
    with pytest.raises(InputError, match="has no rows with a URI that can be used; line 2: hf://datasets"):
        uri_list.read(write(tmp_path, rows[:1], "csv"))


@pytest.mark.parametrize("cell", ['["a dog", "a cat"]', "['a dog', 'a cat']", " [\"a dog\",'a cat'] "])
def test_a_list_in_a_cell_is_read(tmp_path, cell):
    pd.DataFrame({"video_uri": ["v.mp4"], "expression": [cell]}).to_csv(tmp_path / "l.csv", index=False)
    assert [text for *_, text in pairs_of(tmp_path / "l.csv")] == ["a dog", "a cat"]
    (video,) = uri_list.read(str(tmp_path / "l.csv"))
    assert (listed_rows.LISTS, "line 2") in video.warnings


@pytest.mark.parametrize("text", ["[sic] a dog", "[1]", "['a dog'", "[" * 5000, "['a', " + "[" * 3000, "[1, 2]"])
def test_other_brackets_stay_a_sentence(tmp_path, text):
    pd.DataFrame({"video_uri": ["v.mp4"], "expression": [text]}).to_csv(tmp_path / "l.csv", index=False)
    assert [sentence for *_, sentence in pairs_of(tmp_path / "l.csv")] == [text]


def test_places_are_lines_of_the_file(tmp_path):
    text = 'sep=;\nvideo_uri;expression;expression_id\n\na.mp4;"two\nlines";1\n\na.mp4;x;1\n'
    (tmp_path / "l.csv").write_text(text)
    (video,) = uri_list.read(str(tmp_path / "l.csv"))
    assert video.problems == ["line 7 of the expressions: duplicate expression_id '1'; make it unique within its video"]
    assert [place[:8] for text, place in video.warnings if text == LINE_BREAK] == ["line 4, "]
    (tmp_path / "l.jsonl").write_text('\n{"url": "a.mp4", "text": "x"}\n\n[]\n')
    with pytest.raises(InputError, match="l.jsonl line 4: must be a JSON object"):
        uri_list.read(str(tmp_path / "l.jsonl"))


@pytest.mark.parametrize("kind", ["pipe", "device", "socket"])
def test_what_is_no_file_is_refused(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "l.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        socketserver.ThreadingUnixStreamServer("l.csv", socketserver.BaseRequestHandler).server_close()
    for words in (("list", path), ("folder", tmp_path, "--expressions", path)):
        result = CliRunner().invoke(main, ["import", *map(str, words), "--out", str(tmp_path / "out")])
        assert result.exit_code == 2, result.output
        assert "is not a regular file, but a pipe, device or socket; copy its content" in result.output


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_empty_lists_of_sentences_are_counted_and_their_videos_named(tmp_path, form):
    rows = [{"video_uri": uri, "expression": texts} for uri, texts in (("w", ["a"]), ("w", []), ("v a", []))]
    if form == "csv":  # as pandas writes lists
        pd.DataFrame(rows).to_csv(tmp_path / "clips.csv", index=False)
    else:
        write(tmp_path, rows, form)
    path = str(tmp_path / f"clips.{form}")
    result = run(ImportConfig(dataset="list", root=path, out=str(tmp_path / "out")))
    assert (result.videos, result.pairs) == (1, 1)
    assert [(note.reason, note.count) for note in result.skipped] == [(uri_list.NO_SENTENCES, 2)]
    (gone,) = result.warnings if form != "csv" else [text for text in result.warnings if "in a list" not in text]
    assert gone.startswith(f"{NO_EXPRESSIONS.partition(';')[0]}: 1 (first: v a-")
    (tmp_path / "none.jsonl").write_text('{"video_uri": "w", "expression": []}')
    with pytest.raises(InputError, match="has no expressions: all of its lists are empty"):
        uri_list.read(str(tmp_path / "none.jsonl"))


@pytest.mark.parametrize("form", ["jsonl", "parquet", "csv"])
def test_a_list_of_ids_goes_with_a_list_of_sentences(tmp_path, form):
    rows = [
        {"video_uri": "w", "video_id": "v", "expression": ["a", "b"], "expression_id": ["x", "y"]},
        {"video_uri": "w", "video_id": "v", "expression": ["c"], "expression_id": ["z"]},
    ]
    if form == "csv":
        pd.DataFrame(rows).to_csv(tmp_path / "clips.csv", index=False)
    else:
        write(tmp_path, rows, form)
    assert pairs_of(tmp_path / f"clips.{form}") == [("v", "x", "a"), ("v", "y", "b"), ("v", "z", "c")]


def test_ids_in_lists_follow_the_rule_of_ids(tmp_path):
    row = {"video_uri": "w", "video_id": "v", "expression": ["a", "b", "c"]}
    path = write(tmp_path, [row | {"expression_id": [7.0, None, "8"]}], "jsonl")
    assert pairs_of(path) == [("v", "7", "a"), ("v", "8", "c"), ("v", "0", "b")]
    path = write(tmp_path, [row | {"video_id": ["u", "v", "v"], "expression_id": [1, 1, 2]}], "jsonl")
    assert pairs_of(path) == [("u", "1", "a"), ("v", "1", "b"), ("v", "2", "c")]
    path = write(tmp_path, [row | {"expression_id": 7.0}], "jsonl")
    (video,) = uri_list.read(path)
    assert [pair["expression_id"] for pair in video.pairs] == ["7", "7_1", "7_2"]
    assert (listed_rows.ONE_ID, "7 of line 1") in video.warnings


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"expression_id": ["x"], "expression": ["a", "b"]}, "line 2: expression_id is a list of 1 for 2 sentences"),
        ({"expression_id": ["x", "y"]}, "line 2: expression_id is a list of 2 for one sentence; give one id for each"),
        ({"video_id": ["x", "y"], "expression": []}, "line 2: video_id is a list of 2 for 0 sentences"),
        ({"expression_id": {"a": 1}}, "line 2: expression_id is of the type dict; write a text or a whole number"),
        ({"expression_id": [["x"]], "expression": ["a"]}, "line 2: expression_id is of the type list"),
        ({"expression_id": [True], "expression": ["a"]}, "line 2: expression_id is True"),
        ({"video_id": False}, "line 2: video_id is False"),
        ({"video_uri": ["a.mp4", "b.mp4"]}, "line 2: 'video_uri' must be a plain value"),
    ],
)
def test_what_cannot_be_an_id_is_refused(tmp_path, row, message):
    path = write(tmp_path, [ROWS[0], {"video_uri": "w", "expression": "a"} | row], "jsonl")
    result = CliRunner().invoke(main, ["import", "list", path, "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "attributes" not in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("id_", [datetime.datetime(2024, 1, 1), datetime.date(2024, 1, 1), b"x", Decimal("7.5"), True])
def test_columns_of_parquet_that_cannot_be_ids(tmp_path, id_):
    for name in ("expression_id", "video_id"):
        with pytest.raises(InputError, match=rf"row 1 \(counted from 1\): {name} is .*write a text or a whole number"):
            uri_list.read(write(tmp_path, [{"video_uri": "w", "expression": "a", name: id_}], "parquet"))


def test_decimal_numbers_are_numbers(tmp_path):
    rows = [
        {"video_uri": "w", "expression": text, "expression_id": Decimal(text), "score": Decimal(score)}
        for text, score in (("7.00", "0.50"), ("8.00", "2.00"))
    ]
    (video,) = uri_list.read(write(tmp_path, rows, "parquet"))
    assert [(pair["expression_id"], pair["score"]) for pair in video.pairs] == [("7", 0.5), ("8", 2)]
    assert video.skipped == []


def test_ids_that_look_like_other_ones_are_said(tmp_path):
    rows = [{"video_uri": "w", "expression": "x", "video_id": id_} for id_ in ("1.0", "clip2")]
    first, _ = uri_list.read(write(tmp_path, rows, "csv"))
    assert (first.video_id, first.warnings) == ("1.0", [(plain_ids.KEPT, "video_id 1.0 of line 2")])
