"""Members of tar and zip archives, read by their range of bytes."""

import copy
import io
import os
import resource
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipeline.export.untrusted_zip import MaskFault, open_untrusted_zip, read_stored_mask
from pipeline.io import archive, storage
from pipeline.io.local_copy import local_file
from pipeline.video import Selection, probe, read_frames
from schemas.errors import MediaError

CONTENT = os.urandom(300_000)


def tar(path, members: dict[str, bytes], **options) -> str:
    with tarfile.open(path, "w", **options) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def zipped(path, members: dict[str, bytes], method=zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return str(path)


@pytest.mark.parametrize("make", [tar, zipped])
@pytest.mark.parametrize("name", ["v.mp4", "a/b/v 1.mp4", "ü" * 120 + ".mp4"])
def test_members_are_read_in_every_way(tmp_path, make, name):
    kind = "tar" if make is tar else "zip"
    uri = f"{kind}://{name}::{make(tmp_path / 'shard', {'other': b'x' * 999, name: CONTENT, 'last': b'y'})}"
    assert storage.size(uri) == len(CONTENT)
    assert storage.exists(uri)
    assert not storage.is_folder(uri)
    assert storage.file_name(uri) == name.rpartition("/")[2]
    assert storage.read_bytes(uri) == CONTENT
    with local_file(uri) as path, open(path, "rb") as file:
        assert file.read() == CONTENT
    with storage.open_input(uri) as file:
        assert file.seek(-100, os.SEEK_END) == len(CONTENT) - 100
        assert file.read() == CONTENT[-100:]
        file.seek(7)
        assert file.read(9) == CONTENT[7:16]
    assert not storage.exists(f"{kind}://none.mp4::{tmp_path}/shard")


def test_a_shard_that_is_written_again(tmp_path):
    uri = f"tar://v::{tar(tmp_path / 's.tar', {'a': b'1' * 600, 'v': b'old'})}"
    assert storage.read_bytes(uri) == b"old"
    tar(tmp_path / "s.tar", {"v": b"new content", "a": b"1"})
    assert storage.read_bytes(uri) == b"new content"


def test_on_s3(s3, tmp_path):
    shard = f"{s3}/{tmp_path.name}/shard.tar"
    storage.write_bytes(shard, Path(tar(tmp_path / "s.tar", {"a.mp4": CONTENT, "b": b"2"})).read_bytes())
    assert storage.read_bytes(f"tar://b::{shard}") == b"2"
    assert storage.read_bytes(f"tar://a.mp4::{shard}") == CONTENT


def status_of(uri: str) -> str:
    with pytest.raises(MediaError) as told:
        next(read_frames(uri, Selection()))
    assert "***" not in str(told.value)
    return told.value.status


def test_hostile_and_damaged_archives_cost_one_row(tmp_path):
    shard = tar(tmp_path / "s.tar", {"v.mp4": CONTENT})
    assert status_of(f"tar://none.mp4::{shard}") == "missing"
    assert status_of(f"tar://v.mp4::{tmp_path}/none.tar") == "missing"
    cut = tmp_path / "cut.tar"
    cut.write_bytes((tmp_path / "s.tar").read_bytes()[:5000])
    assert status_of(f"tar://v.mp4::{cut}") == "corrupt"
    for content in (b"", b"text" * 1000, b"\xff" * 5000):
        for kind in ("tar", "zip"):
            (tmp_path / "bad").write_bytes(content)
            assert status_of(f"{kind}://v.mp4::{tmp_path}/bad") in ("corrupt", "missing")
    with tarfile.open(tmp_path / "links.tar", "w") as archive:
        for name, kind in (("hard", tarfile.LNKTYPE), ("soft", tarfile.SYMTYPE), ("fifo", tarfile.FIFOTYPE)):
            info = tarfile.TarInfo(f"{name}.mp4")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    for name in ("hard", "soft", "fifo"):
        assert status_of(f"tar://{name}.mp4::{tmp_path}/links.tar") == "missing"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**40  # a header larger than memory
    (tmp_path / "pax.tar").write_bytes(info.tobuf() + b"0" * 10_000)
    assert status_of(f"tar://x::{tmp_path}/pax.tar") == "corrupt"
    bomb = zipped(tmp_path / "bomb.zip", {"v.mp4": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert status_of(f"zip://v.mp4::{bomb}") == "corrupt"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_without_a_bound_are_refused_before_they_take_memory(tmp_path, method):
    """zipfile unpacks them to whatever they hold, whatever size the directory states."""
    path = Path(zipped(tmp_path / "bomb.zip", {"v.mp4": bytes(2**28)}, method))
    content = bytearray(path.read_bytes())
    content[(at := content.rindex(b"PK\1\2") + 24) : at + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(content)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert status_of(f"zip://v.mp4::{path}") == "corrupt"
    with path.open("rb") as file, open_untrusted_zip(file, "bomb.zip") as opened:
        fault = read_stored_mask(opened, opened.infolist()[0])
    assert fault == MaskFault("unreadable", f"it is packed by method {method}; only stored and deflate are read")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 2**16  # KiB


def test_a_directory_of_a_zip_is_bounded_before_it_takes_memory(tmp_path, monkeypatch):
    """zipfile reads a directory as a whole, and takes ten times its bytes: 150 MB took 1.2 GB."""
    path = Path(zipped(tmp_path / "s.zip", {f"{n}.mp4": b"" for n in range(3)}, zipfile.ZIP_STORED))
    content = path.read_bytes()
    start = content.find(b"PK\1\2")
    entry, end = content[start : content.find(b"PK\1\2", start + 4)], bytearray(content[-22:])
    directory = entry * 1001  # more entries than the number that the end states
    end[12:16] = len(directory).to_bytes(4, "little")
    path.write_bytes(content[:start] + directory + end)
    monkeypatch.setattr(archive, "MAX_MEMBERS", 1000)
    with pytest.raises(MediaError, match="more than 1000 members"):
        storage.read_bytes(f"zip://0.mp4::{path}")
    monkeypatch.setattr(archive, "MAX_DIRECTORY_BYTES", 1000)
    with pytest.raises(MediaError, match="its directory alone takes"):
        storage.read_bytes(f"zip://0.mp4::{path}")


def test_members_of_a_zip_that_overlap_are_refused(tmp_path):
    """Each could be the same large one: a small file would cost days."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("0.mp4", os.urandom(1000))
        first = made.filelist[0]
        made.filelist += [copy.copy(first) for _ in range(5)]
        for number, entry in enumerate(made.filelist):
            entry.filename = f"{number}.mp4"
    with pytest.raises(MediaError, match="they overlap"):
        storage.read_bytes(f"zip://0.mp4::{path}")


def test_steps_back_in_a_member_of_a_zip_take_linear_time(tmp_path, monkeypatch):
    """Boxes in boxes lead the reader of an MP4 back for each; zipfile unpacks all before it again (64,000: 20 s)."""
    boxes = b"".join(struct.pack(">I4s", 8 * count, b"moov") for count in range(40_000, 0, -1))
    uri = f"zip://v.mp4::{zipped(tmp_path / 'a.zip', {'v.mp4': boxes}, zipfile.ZIP_DEFLATED)}"
    unpacked = []
    read = zipfile.ZipExtFile._read1  # what takes the time
    monkeypatch.setattr(zipfile.ZipExtFile, "_read1", lambda self, n: unpacked.append(part := read(self, n)) or part)
    with pytest.raises(MediaError, match="cannot open"):
        probe(uri)
    assert len(boxes) <= sum(map(len, unpacked)) <= 2 * len(boxes)
