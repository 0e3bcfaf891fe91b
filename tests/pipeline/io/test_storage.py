import errno
import io
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pytest

from pipeline.io import guarantees, local, parquet, process, s3, storage
from schemas.errors import InputError, StorageError


def test_absolute_counts_from_base_and_keeps_uris(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("a/../b.mp4") == str(tmp_path / "b.mp4")
    assert storage.absolute("b.mp4", "/data/set") == "/data/set/b.mp4"
    assert storage.absolute("/b.mp4", "/data/set") == "/b.mp4"
    assert storage.absolute("b.mp4", "s3://bucket/set") == "s3://bucket/set/b.mp4"
    assert storage.absolute("s3://bucket/b.mp4", "/data") == "s3://bucket/b.mp4"
    assert storage.absolute("file:///b.mp4") == "/b.mp4"


def test_parent():
    assert storage.parent("/a/b") == "/a"
    assert storage.parent("/a") == "/"
    assert storage.parent("s3://bucket/a/b") == "s3://bucket/a"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\\b", "a\0b", "x" * 256, "caf\udce9"])
def test_names_that_would_leave_their_folder_are_refused(name):
    with pytest.raises(InputError):
        storage.safe_name(name)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path):
    """The same behaviour is promised locally and on object stores."""
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_the_first_writer_wins(folder):
    uri = storage.join(folder, "masks", "u.parquet")
    assert storage.write_bytes(uri, b"first", replace=False)
    assert not storage.write_bytes(uri, b"second", replace=False)
    assert storage.read_bytes(uri) == b"first"
    storage.write_bytes(uri, b"third")
    assert storage.read_bytes(uri) == b"third"
    assert storage.names(storage.parent(uri)) == ["u.parquet"]


@pytest.mark.parametrize("large", [False, True])
def test_a_swap_needs_the_version_that_was_read(folder, large, monkeypatch):
    """Large ones go up in parts on S3."""
    monkeypatch.setattr(s3, "SINGLE_PUT_BYTES", 2**24)
    uri = storage.join(folder, "u")
    first, second, third = (os.urandom(2**24 + 5 if large else 10) for _ in range(3))
    storage.write_bytes(uri, first)
    seen = storage.version(uri)
    for content, swapped in ((second, True), (third, False)):
        with storage.spool(uri) as path:
            Path(path).write_bytes(content)
            assert bool(storage.swap(path, uri, seen)) == swapped
        assert storage.read_bytes(uri) == second
    assert storage.version(uri) != seen
    assert storage.names(folder) == ["u"]


def test_a_folder_is_not_replaced_and_nothing_is_left(tmp_path):
    (tmp_path / "u/inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        storage.write_bytes(str(tmp_path / "u"), b"content")
    assert os.listdir(tmp_path) == ["u"]


@pytest.mark.parametrize("nameless", [True, False])
def test_local_commits_with_and_without_nameless_files(tmp_path, monkeypatch, nameless):
    if not nameless:  # as on network file systems
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    uri = str(tmp_path / "folder" / "u")
    with storage.spool(uri) as path:
        assert path.startswith("/proc/") == nameless
        Path(path).write_bytes(b"content")
        assert storage.commit(path, uri)
        assert not storage.commit(path, uri)
        assert storage.commit(path, uri, replace=True)
    assert os.listdir(tmp_path / "folder") == ["u"]
    assert Path(uri).read_bytes() == b"content"
    mask = os.umask(0)
    os.umask(mask)
    assert os.stat(uri).st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.chaos
def test_a_killed_writer_leaves_nothing(tmp_path):
    code = (
        "import os, sys; from pipeline.io.storage import spool; spool(sys.argv[1]).__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / "u")], check=False).returncode == -9
    assert os.listdir(tmp_path) == []


def test_hidden_files_of_dead_processes_are_removed(tmp_path, monkeypatch):
    """They stay on file systems without nameless files."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    number, here = "0" * 32, process.writer_name().removesuffix(str(os.getpid()))
    writers = {
        "dead": f"{here}4194305-",
        "live": f"{here}{os.getppid()}-",
        "container": f"{socket.gethostname()}-1-4194305-",
        "elsewhere": "far-1-1-",
        "earlier": f"{socket.gethostname()}-4194305-",
        "first": "",
    }
    names = {who: f".{writer}{number}.part" for who, writer in writers.items()}
    kept = [*(name for who, name in names.items() if who != "dead"), "u.part", ".hidden"]
    for name in (names["dead"], *kept):
        (tmp_path / name).touch()
    with storage.spool(str(tmp_path / "u")) as path:  # which removes what is left in its folder
        assert set(os.listdir(tmp_path)) == {*kept, Path(path).name}
        for name in kept:
            os.utime(tmp_path / name, (0, 0))
        storage.remove_parts(str(tmp_path))
        assert set(os.listdir(tmp_path)) == {names["live"], "u.part", ".hidden", Path(path).name}
    storage.remove_parts(str(tmp_path / "absent"))


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_a_clock_that_jumps_removes_no_file_of_a_living_writer(folder, monkeypatch, jump):
    """Of this host or of another one, whose clock or that of the server is right."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    here = process.writer_name()
    names = [f".{writer}-{'0' * 32}.part" for writer in (here, "far-1-1")] if storage.is_local(folder) else []
    names += [f".probe-{here}-{time.time():.0f}-{'0' * 12}/create"]
    for name in names:
        storage.write_bytes(storage.join(folder, *name.split("/")), b"1")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + jump)
    storage.remove_parts(folder)
    guarantees.remove_probes(folder)
    assert all(storage.exists(storage.join(folder, *name.split("/"))) for name in names)
    assert not storage.is_local(folder) or len(os.listdir(folder)) == len(names)


def test_what_is_not_committed_leaves_nothing(folder):
    uri = storage.join(folder, "u")
    with pytest.raises(RuntimeError), storage.spool(uri) as path:
        Path(path).write_bytes(b"half")
        raise RuntimeError
    assert not storage.exists(uri)
    assert not os.path.exists(path)


def test_an_emptied_folder_has_no_names(folder):
    """Some object stores keep a marker of it, which s3fs lists in it."""
    uri = storage.join(folder, "a", "b", "c")
    storage.write_bytes(uri, b"1")
    storage.remove(uri)
    if storage.is_folder(storage.parent(uri)):
        assert storage.names(storage.parent(uri)) == []


def test_sizes_are_bounded_before_reading(folder):
    uri = storage.join(folder, "u")
    storage.write_bytes(uri, b"12345")
    assert storage.read_bytes(uri, limit=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        storage.read_bytes(uri, limit=4)


class Failing(io.BytesIO):
    """A file on a mount that fails while it is read, which the error does not name."""

    def read(self, *_) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def stale(path: str, *_) -> NoReturn:
    raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)


@pytest.mark.parametrize(
    ("name", "fail", "reason"),
    [
        ("open_regular", stale, "Stale file handle"),
        ("open_regular", lambda _: Failing(b"x" * 1000), "Input/output error"),
        ("blocks", stale, "Stale file handle"),
        ("blocks", lambda _: (1, (Failing().read() for _ in "x")), "Input/output error"),
    ],
)
def test_a_failing_disk_is_named_with_file_and_host(tmp_path, monkeypatch, name, fail, reason):
    uri = str(tmp_path / "u.parquet")
    parquet.write_table(uri, pa.table({"a": [1]}))
    monkeypatch.setattr(local, name, fail)
    with pytest.raises(StorageError, match=f"{uri}: cannot read on host .*: {reason}; check this machine"):
        (parquet.read_table if name == "open_regular" else storage.read_bytes)(uri)


def test_missing_files(folder):
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(storage.join(folder, "none"))
    with pytest.raises(FileNotFoundError):
        storage.names(storage.join(folder, "none"))


def test_unknown_scheme():
    with pytest.raises(InputError, match="nosuch"):
        storage.exists("nosuch://bucket/x")


@pytest.mark.s3
def test_large_files_go_up_in_parts_and_the_first_still_wins(s3, tmp_path):
    uri = f"{s3}/{tmp_path.name}/large"
    content = os.urandom(2**24 + 5)
    assert storage.write_bytes(uri, content, replace=False)
    assert not storage.write_bytes(uri, content[::-1], replace=False)
    assert storage.read_bytes(uri) == content


@pytest.mark.s3
@pytest.mark.parametrize("call", ["exists", "size", "version", "read_bytes", "names", "is_folder"])
def test_a_wrong_key_is_told_by_whatever_is_asked_first(s3, call):
    code = f"from pipeline.io import storage; storage.{call}('s3://tests/none')"
    environment = os.environ | {"AWS_SECRET_ACCESS_KEY": "wrong-secret-value"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "ServerError: s3://tests/none: the storage denies access" in done.stderr
    assert "set AWS_ACCESS_KEY_ID" in done.stderr
    assert "wrong-secret-value" not in done.stderr


def test_walk(tmp_path):
    import fsspec

    for path in ("b/2.txt", "b/1.txt", "a.txt", "c/d/3.txt", ".hidden/4.txt", "b/.5"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
        fsspec.filesystem("memory").pipe(f"/walking/{path}", b"x")
    expected = {"": ["a.txt"], "b": [".5", "1.txt", "2.txt"], "c": [], "c/d": ["3.txt"], ".hidden": ["4.txt"]}
    for folder in (str(tmp_path), "memory://walking", "memory://walking/"):
        assert dict(storage.walk(folder)) == expected
    with pytest.raises(FileNotFoundError):
        list(storage.walk(str(tmp_path / "gone")))
