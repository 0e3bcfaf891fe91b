"""Files that are not what their names say, such as a pointer of Git LFS or the web page of a login.

Each reader says what the file is and what to do. It shows nothing of the content.
"""

import bz2
import gzip
import itertools
import json
import lzma
from pathlib import Path

import pytest

from pipeline.datasets.common import csv_file, json_file, row_file
from pipeline.io import parquet
from pipeline.io.stand_in import stand_in
from pipeline.masks.png_file import read_png
from pipeline.video import Selection, probe, read_frames
from schemas.errors import InputError, MediaError

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:5ec1e7\nsize 1048576\n"
PAGE = b"\xef\xbb\xbf\n<!-- login -->\n<!DOCTYPE html><html><title>Sign in</title></html>"
ERROR = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>secret</Message></Error>'
ANNEX = b"/annex/objects/SHA256E-s1048576--5ec1e7.mp4\n"
STAND_INS = [
    (LFS, "a pointer of Git LFS; fetch the file with 'git lfs pull'"),
    (ANNEX, "a pointer of git-annex; fetch the file with 'git annex get'"),
    (b"../.git/annex/objects/Zk/9q/SHA256E-s1--5ec1e7.mp4/SHA256E-s1--5ec1e7.mp4", "a pointer of git-annex"),
    (gzip.compress(b"secret"), "a file packed with gzip; unpack it"),
    (bz2.compress(b"secret"), "a file packed with bzip2; unpack it"),
    (lzma.compress(b"secret"), "a file packed with xz; unpack it"),
    (PAGE, "a web page, as of a login or an error; download the file again, signed in"),
    (b"<HTML><HEAD>secret", "a web page"),
    (ERROR, r"the error of a storage \(AccessDenied\); download the file again, with valid keys"),
    (b'<Error xmlns="x"><Message>secret</Message>', "the error of a storage; download"),
    (b"Salted__12345678secret", "an encrypted file; decrypt it"),
    (b"XSym\n0005\n", "a link of another file system, stored as a text"),
]
ONLY_VIDEOS = [
    (b"#EXTM3U\n#EXTINF:4,\nsecret.ts\n", "a playlist, which only names a stream; download the stream itself"),
    (b'<?xml version="1.0"?><MPD type="static"></MPD>', "a playlist"),
    (b"PK\3\4" + bytes(60), "a zip archive; unpack it, or give a member as zip://MEMBER::ARCHIVE"),
    (bytes(257) + b"ustar" + bytes(300), "a tar archive; give a member as tar://MEMBER::ARCHIVE"),
    (b"%PDF-1.7\n", "a PDF; use a video file, an image, or a folder of images"),
    (b"\x93NUMPY\1\0" + bytes(80), "a NumPy array; use a video file"),
    (bytes(5000), "zeros only, as of a copy that did not finish; copy it again"),
    ("secret: Größe\n".encode(), "text; use a video file"),
    (b"\xff\xfe" + "secret\n".encode("utf-16-le"), "text; use a video file"),
]


@pytest.mark.parametrize(("content", "text"), STAND_INS + ONLY_VIDEOS, ids=itertools.count())
def test_of_a_video(tmp_path: Path, content: bytes, text: str):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (probe, lambda uri: list(read_frames(uri, Selection()))):
        with pytest.raises(MediaError, match=rf"clip\.mp4 is not a video file, but {text}") as told:
            read(str(path))
        assert told.value.status == "corrupt"
        assert "secret" not in str(told.value)
        assert "5ec1e7" not in str(told.value)


@pytest.mark.parametrize(("content", "text"), STAND_INS, ids=itertools.count())
def test_of_pictures_masks_and_tables(tmp_path: Path, content: bytes, text: str):
    for name in ("00000.png", "t.parquet", "t.json", "t.csv", "t.txt"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MediaError, match=rf"00000\.png is not an image, but {text}"):
        list(read_frames(str(tmp_path / "00000.png"), Selection()))
    with pytest.raises(MediaError, match=rf"it is not a PNG file, but {text}"):
        read_png(str(tmp_path / "00000.png"))
    with pytest.raises(InputError, match=rf"t\.parquet is not a Parquet file, but {text}"):
        parquet.read_table(str(tmp_path / "t.parquet"))
    with pytest.raises(InputError, match=rf"t\.json is not valid JSON: it is {text}"):
        json_file.load(str(tmp_path / "t.json"))
    with pytest.raises(InputError, match=rf"t\.json is not valid JSON before byte 0: it is {text}"):
        list(json_file.entries(str(tmp_path / "t.json")))
    for name in ("t.csv", "t.txt"):
        with pytest.raises(InputError, match=rf"is not a \.(csv|txt) file, but {text}"):
            list(row_file.read_rows(str(tmp_path / name), [["expression"]], ("csv", "txt")))
    with pytest.raises(InputError, match=rf"t\.csv is not CSV, but {text}"):
        csv_file.read_rows(str(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"the man with /annex/ on his shirt\n",
        b"version,video_uri,expression\n",
        b"a <html> tag is drawn on the wall\n",
        json.dumps({"Error": "<Error>"}).encode(),
        b"<3 the cat that everyone loves\n",
    ],
)
def test_of_nothing(content: bytes):
    assert stand_in(content) is None


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"ARROW1\0\0secret", "an Arrow"),
        (b"ORC\3secret", "an ORC file"),
        (b"Obj\1secret", "an Avro file"),
        (b"SQLite format 3\0secret", "an SQLite database"),
        (b"PK\3\4secret", "a spreadsheet or zip archive"),
        (bytes(8) + b"DUCKsecret", "a DuckDB database"),
    ],
    ids=itertools.count(),
)
def test_of_a_table_of_another_form(tmp_path: Path, content: bytes, text: str):
    for name in ("t.parquet", "t.csv"):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.parquet is not a Parquet file, but {text}.*; save it as Parquet"):
        parquet.read_table(str(tmp_path / "t.parquet"))
    with pytest.raises(InputError, match=rf"t\.csv is not a \.csv file, but {text}.*; save it") as told:
        list(row_file.read_rows(str(tmp_path / "t.csv"), [["expression"]]))
    assert "secret" not in str(told.value)


def test_comments_are_read_once():
    assert stand_in((b"<!---->" * 1000)[:4096]) is None
