import os
import stat
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from pipeline.io import storage
from pipeline.io.local_copy import local_file, local_folder
from pipeline.io.private_folder import LOCK, private_folder


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path):
    """The same behaviour is promised locally and on object stores."""
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_files_and_folders_have_local_paths(folder):
    uri = storage.join(folder, "t.txt")
    storage.write_bytes(uri, b"content")
    with local_file(uri) as path:
        assert Path(path).read_bytes() == b"content"
    with local_folder(folder) as path:
        assert os.listdir(path) == ["t.txt"]


@pytest.mark.s3
@pytest.mark.chaos
def test_a_killed_reader_leaves_no_copies(s3, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        storage.write_bytes(f"{s3}/{tmp_path.name}/{name}", os.urandom(100_000))
    code = (
        "import os, sys; from pipeline.io import local_copy as c; uri = sys.argv[1]\n"
        "with c.local_file(uri + '/a.mp4') as path, c.local_folder(uri) as folder:\n"
        "    files = [path, *(os.path.join(folder, name) for name in os.listdir(folder))]\n"
        "    print(len(files), sum(len(open(file, 'rb').read()) for file in files), flush=True)\n"
        "    os.kill(os.getpid(), 9)"
    )
    spool = tmp_path / "spool"
    spool.mkdir()
    command = [sys.executable, "-c", code, f"{s3}/{tmp_path.name}"]
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(spool)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "3 300000\n"), done.stderr
    left = [path for path in spool.rglob("*") if not path.is_symlink() and path.is_file()]
    assert all(path.name == LOCK and not path.stat().st_size for path in left)  # else links that lead nowhere
    with private_folder(str(spool)):
        assert len(list(spool.iterdir())) == 1  # the next folder removes what is left


@pytest.mark.s3
def test_copies_without_nameless_files(s3, tmp_path, monkeypatch):
    uri = f"{s3}/{tmp_path.name}/v.mp4"
    storage.write_bytes(uri, b"content")
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)  # as on network file systems
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with local_file(uri) as path:
        assert Path(path).parent == tmp_path
        assert Path(path).read_bytes() == b"content"
    assert os.listdir(tmp_path) == []


def test_other_users_cannot_read_a_copy(tmp_path, monkeypatch):
    """Where files without a name are not possible, it has one in a folder of all users."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("v.mp4", b"content")
    for opened in (local_file(f"zip://v.mp4::{tmp_path}/a.zip"), storage.spool("s3://bucket/v.mp4")):
        with opened as path:
            assert Path(path).parent == tmp_path
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
