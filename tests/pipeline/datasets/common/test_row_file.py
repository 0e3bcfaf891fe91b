"""Tables of sentences as spreadsheets and pandas write them."""

import json

import pytest

from jobs.import_dataset import ImportConfig, run
from pipeline.datasets import folder, uri_list
from pipeline.datasets.common import dataset_video, expression_list, row_file
from pipeline.io.recognise import recognise
from schemas.errors import InputError
from schemas.kinds import SENTENCES

WANTED = [{"video": "a", "expression": "the red square"}]
SPREADSHEETS = {
    "UTF-8 with a mark, Windows lines": "\ufeffvideo,expression\r\na,the red square\r\n".encode(),
    "Unicode text": "video\texpression\r\na\tthe red square\r\n".encode("utf-16"),
    "big-endian": b"\xfe\xff" + "video,expression\na,the red square\n".encode("utf-16-be"),
    "semicolons": b"video;expression\na;the red square\n",
    "a line that names them": b"sep=;\r\nvideo;expression\r\na;the red square\r\n",
    "tabs": b"video\texpression\na\tthe red square\n",
    "Unicode without a mark": "video,expression\na,the red square\n".encode("utf-16-le"),
    "big-endian without a mark": "video,expression\na,the red square\n".encode("utf-16-be"),
    "UTF-32": "video,expression\na,the red square\n".encode("utf-32"),
    "UTF-32 without a mark": "video,expression\na,the red square\n".encode("utf-32-be"),
    "blanks around values": "video, expression\n\u00a0a ,\tthe red square \u200b\n".encode(),
    "blanks before quotes": b'video, expression\na, "the red square"\n',
    "marks of joined files": "video,expression\n\ufeffa,the red square\n".encode(),
    "numbers of rows": b",video,expression\n0,a,the red square\n",
    "numbers of rows, read and written": b"Unnamed: 0,video,expression\n0,a,the red square\n",
    "empty columns at the end": b"video;expression;;\na;the red square;;\n",
    "quotes": b'"video";"expression"\n"a";"the red square"\n',
    "blanks": b" video , expression\na,the red square\n",
    "capitals": b"Video,Expression\na,the red square\n",
}


@pytest.mark.parametrize("form", SPREADSHEETS)
def test_forms_of_csv(tmp_path, form):
    (tmp_path / "a.csv").write_bytes(SPREADSHEETS[form])
    assert [row for _, row in expression_list.read(str(tmp_path / "a.csv"))] == WANTED
    assert recognise(str(tmp_path / "a.csv")) in SENTENCES.kinds


def test_a_name_in_capitals_is_not_an_attribute(tmp_path):
    """Else a sentence about one video would count for all."""
    (tmp_path / "a.csv").write_text("VIDEO ,expression,Kind\na,the red square,x\n")
    assert [row for _, row in expression_list.read(str(tmp_path / "a.csv"))] == [WANTED[0] | {"Kind": "x"}]
    (tmp_path / "l.csv").write_text("URL;Caption\nhttps://host/v.mp4;a man\n")
    ((pair,),) = (video.pairs for video in uri_list.read(str(tmp_path / "l.csv")))
    assert (pair["video_uri"], pair["expression"]) == ("https://host/v.mp4", "a man")


EMPTY = {
    "comma": ("csv", ","),
    "several": ("csv", ",,\n , "),
    "quotes": ("csv", '"",""'),
    "semicolons": ("csv", ";;"),
    "tabs": ("tsv", "\t"),
    "nulls": ("jsonl", '{"video": null, "expression": ""}'),
}


@pytest.mark.parametrize("form", EMPTY)
def test_rows_without_any_value_are_left_out_and_counted(tmp_path, form):
    """Excel appends them. They were sentences without text, about every video."""
    suffix, empty = EMPTY[form]
    mark = {"csv": ";" if ";" in empty else ",", "tsv": "\t"}.get(suffix)
    lines = (
        [f"video{mark}expression", f"a{mark}the red square"]
        if mark
        else ['{"video": "a", "expression": "the red square"}']
    )
    path = tmp_path / f"a.{suffix}"
    path.write_text("\n".join([*lines, empty, ""]))
    notes: row_file.Notes = []
    assert [row for _, row in expression_list.read(str(path), notes)] == WANTED
    assert {text for text, _ in notes} == {row_file.NO_VALUE}
    assert len(notes) == len(empty.splitlines())
    path.write_text(path.read_text().replace("video", "video_uri").replace('"a"', '"a.mp4"'))
    (video,) = uri_list.read(str(path))
    assert row_file.NO_VALUE in dict(video.warnings)


def test_other_encodings_are_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("video,expression\na,le carr\u00e9 rouge\n".encode("latin-1"))
    assert recognise(str(tmp_path / "a.csv")) in SENTENCES.kinds
    with pytest.raises(InputError, match="is not UTF-8 text.*save it as UTF-8"):
        expression_list.read(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("ids", "expected"), [(["1.0", "2.0"], ["1", "2"]), (["1.0", "1"], ["1", "1"]), (["1.5", "2.0"], ["1.5", "2.0"])]
)
def test_whole_numbers_of_pandas(tmp_path, ids, expected):
    (tmp_path / "a.csv").write_text("expression,expression_id\n" + "".join(f"x,{each}\n" for each in ids))
    assert [row["expression_id"] for _, row in expression_list.read(str(tmp_path / "a.csv"))] == expected


def test_what_spreadsheets_and_pandas_lose_is_said(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").touch()
    (tmp_path / "a.csv").write_text("expression,expression_id\nx,1E+05\nNaN,7\n")
    (video,) = folder.read(str(tmp_path / "v"), expressions=str(tmp_path / "a.csv"))
    assert video.warnings == [
        (expression_list.ROUNDED, "a expression 1E+05"),
        (dataset_video.MISSING_VALUE, "a expression 7"),
    ]


def read_notes(tmp_path, content):
    (tmp_path / "a.csv").write_bytes(content)
    notes = []
    return expression_list.read(str(tmp_path / "a.csv"), notes), notes


def test_removed_blanks_and_row_numbers_are_said(tmp_path):
    rows, notes = read_notes(tmp_path, "\u00a0;video;expression;colour \n0;a ;x;red\u00a0\n1;a;y;red\n".encode())
    assert [row for _, row in rows] == [
        {"video": "a", "expression": "x", "colour": "red"},
        {"video": "a", "expression": "y", "colour": "red"},
    ]
    assert notes == [
        (row_file.PADDED, "video of line 2"),
        (row_file.PADDED, "colour of line 2"),
        (row_file.INDEX, f"'' of {tmp_path}/a.csv"),
    ]


def test_ids_that_differ_by_blanks_only_are_the_same(tmp_path):
    (tmp_path / "l.csv").write_text("video_uri,expression,expression_id\na.mp4,x,1\na.mp4 ,y,1\u00a0\n")
    (video,) = uri_list.read(str(tmp_path / "l.csv"))
    assert "duplicate expression_id '1'" in video.problems[0]


def test_a_name_that_does_end_in_a_blank_is_found(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a .mp4").touch()
    (tmp_path / "a.csv").write_text("video,expression\na ,x\n")
    (video,) = folder.read(str(tmp_path / "v"), expressions=str(tmp_path / "a.csv"))
    assert video.pairs[0]["video_uri"] == f"{tmp_path}/v/a .mp4"


@pytest.mark.parametrize(
    "text", ['video,expression\na,"x\nb,y\nc,z"\nd,w\n', 'video,expression,n\na,x,"1\nb,y,2\nc,z,3"\n']
)
def test_an_open_quote_that_swallows_rows_is_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"a.csv line 2: '\w+' goes on with the line 'b,y.*close the quote"):
        read_notes(tmp_path, text.encode())


def test_a_sentence_in_two_lines_is_said(tmp_path):
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "a.mp4").touch()
    (tmp_path / "a.csv").write_text('expression\nx\n"y\nz"\n')
    (video,) = folder.read(str(tmp_path / "v"), expressions=str(tmp_path / "a.csv"))
    assert video.warnings == [(expression_list.LINE_BREAK, "line 3, a expression 1")]


def test_nul_is_refused_at_the_door(tmp_path):
    with pytest.raises(InputError, match="line 2: 'expression' has a NUL character"):
        read_notes(tmp_path, b"video,expression\na,x\0y\n")
    (tmp_path / "l.jsonl").write_text('{"video_uri": "a.mp4", "expression": "x\\u0000"}\n')
    with pytest.raises(InputError, match="line 1: 'expression' has a NUL character"):
        list(uri_list.read(str(tmp_path / "l.jsonl")))


def test_attributes_of_several_types_are_said(tmp_path):
    rows = [
        {"video_uri": "a.mp4", "expression": f"x {value!r}", "n": value, "m": value}
        for value in (1, 1.5, None, "1", True)
    ]
    rows[3]["m"] = rows[4]["m"] = 2
    (tmp_path / "l.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    result = run(ImportConfig(dataset="list", root=str(tmp_path / "l.jsonl"), out=str(tmp_path / "out")))
    (text,) = result.warnings
    assert text.startswith('attributes with values of several types, such as 1 and "1": 1 (first: n of a-')
