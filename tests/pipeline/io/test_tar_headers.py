"""Tar files that are made to hurt: whatever their headers say, time and memory are bounded, and the error is one."""

import io
import resource
import tarfile
from pathlib import Path

import pytest

from pipeline.datasets import webdataset
from pipeline.io import tar_headers
from pipeline.io.tar_headers import regular_members
from pipeline.video import probe
from schemas.errors import InputError, MediaError


def header(name: str, size: int = 0, kind: bytes = b"0") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.USTAR_FORMAT)


def record(text: str) -> bytes:
    length = len(text) + 2
    while len(f"{length} {text}\n") != length:
        length += 1
    return f"{length} {text}\n".encode()


def records(content: bytes, kind: bytes = b"x") -> bytes:
    return header("x", len(content), kind) + content + bytes(-len(content) % 512)


VIDEO = header("v.mp4") + bytes(1024)
HOSTILE = {
    "records for all members": records(b"".join(record(f"k{n}=v") for n in range(50_000)), b"g") + VIDEO,
    "many headers with such records": b"".join(
        records(b"".join(record(f"k{part}.{n}=v") for n in range(900)), b"g") for part in range(100)
    )
    + VIDEO,
    "records without an end": records(b"5 aaa" * 100_000 + b"=") + VIDEO,
    "a record without a length": records(b"0 path=v.mp4\n") + VIDEO,
    "a record whose length is no number": records("\u0663 a=b".encode()) + VIDEO,
    "a thousand headers": records(record("a=b")) * 2000 + VIDEO,
    "a thousand names": (header("n", 2, b"L") + b"v\0" + bytes(510)) * 2000 + VIDEO,
    "a broken map": records(record("GNU.sparse.major=1") + record("GNU.sparse.minor=0"))
    + header("v.mp4", 9)
    + b"z" * 512,
    "a map of words": records(record("GNU.sparse.map=1,x")) + VIDEO,
    "a size of many digits": records(record(f"size={'9' * 400}")) + VIDEO,
    "a size below zero": records(record("size=-1024")) + VIDEO,
    "a place before the file": records(record("size=-2048")) + VIDEO,
    "a long name": header("n", 9000, b"L") + b"n" * 9000 + bytes(-9000 % 512) + VIDEO,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_before_they_take_memory(tmp_path, name):
    (tmp_path / "s.tar").write_bytes(HOSTILE[name])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(tarfile.TarError):
        list(regular_members(io.BytesIO(HOSTILE[name])))
    with pytest.raises(InputError, match=r"s\.tar is not a complete, uncompressed tar file"):
        list(webdataset.read(str(tmp_path)))
    with pytest.raises(MediaError, match="cannot read the archive"):
        probe(f"tar://v.mp4::{tmp_path}/s.tar")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**16  # KiB


def test_the_number_of_members_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_headers, "MAX_MEMBERS", 10)
    (tmp_path / "s.tar").write_bytes(b"".join(header(f"{n}.mp4") for n in range(11)) + bytes(1024))
    with pytest.raises(InputError, match="more than 10 members"):
        list(webdataset.read(str(tmp_path)))
    with pytest.raises(MediaError, match="more than 10 members"):
        probe(f"tar://0.mp4::{tmp_path}/s.tar")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_usual_tar_files_of_every_form_are_read(tmp_path, form):
    names = ["a.mp4", f"{'d' * 90}/{'e' * 90}/b.mp4", *([] if form == tarfile.USTAR_FORMAT else ["ü" * 200 + ".mp4"])]
    extra = {"comment": "written by a test"} if form == tarfile.PAX_FORMAT else None
    with tarfile.open(tmp_path / "s.tar", "w", format=form, pax_headers=extra) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 600, 1.5
            tar.addfile(info, io.BytesIO(name.encode().ljust(600)))
    content = Path(tmp_path / "s.tar").read_bytes()
    found = {entry.name: content[entry.offset_data :][: entry.size] for entry in regular_members(io.BytesIO(content))}
    assert found == {name: name.encode().ljust(600) for name in names}


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("letter", "xgXLKé")
def test_long_names_are_no_headers(letter, form):
    """The 157th byte of a header is its type; that of a long name, which has a block of its own, may be any letter."""
    names = [letter * 180 + ".mp4", "folder/" * 30 + "b.mp4", "c.mp4"]
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    assert [member.name for member in regular_members(file)] == names
