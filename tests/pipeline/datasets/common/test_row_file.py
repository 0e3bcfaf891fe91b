"""Tables of sentences as spreadsheets and pandas write them."""

import pytest

from pipeline.datasets import folder, uri_list
from pipeline.datasets.common import dataset_video, expression_list
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


def test_other_encodings_are_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("video,expression\na,le carr\u00e9 rouge\n".encode("latin-1"))
    assert recognise(str(tmp_path / "a.csv")) in SENTENCES.kinds
    with pytest.raises(InputError, match="is not UTF-8 text.*save it as UTF-8"):
        expression_list.read(str(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("ids", "expected"), [(["1.0", "2.0"], ["1", "2"]), (["1.0", "1"], ["1.0", "1"]), (["1.5", "2.0"], ["1.5", "2.0"])]
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
