"""A full disk while spooling and while committing: the error names the way out, and the run resumes afterwards."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from jobs import audit
from pipeline.io import parquet, storage
from pipeline.io.local_copy import local_file
from pipeline.runs.commit import Receipt, UnitWriter
from pipeline.segment.spool import FRAME_ROWS, FrameSpool
from schemas.errors import StorageError
from schemas.masks import PREDICTIONS
from tests.chaos.case import end_of, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 2 MB and 200 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=200", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("NO FULL DISK HERE: a small file system can be mounted by root only; run these tests as root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Create a file that takes all free space."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        while file.write(bytes(4096)):
            pass
    return path


def fill_names(folder: Path) -> Path:
    """Create a folder with so many empty files that no further name fits."""
    names = folder / "names"
    names.mkdir()
    with pytest.raises(OSError, match="No space left"):
        for number in range(1000):
            (names / str(number)).touch()
    return names


def rows_of(pair: str, count: int = 50) -> pa.Table:
    """Rows with masks that do not compress."""
    row = {"video_id": "v", "expression_id": pair, "status": "ok"}
    return pa.Table.from_pylist([row | {"counts": os.urandom(4000)} for _ in range(count)], PREDICTIONS)


def test_a_run(corpus, cluster, undisturbed, small_disk):
    case = corpus.but(run=str(small_disk / "run"), address=cluster.address)
    driver = case.start()
    wait_until(lambda: len(case.committed()) >= 2, driver)
    filler = fill(small_disk)
    _, messages = end_of(driver, code=3)
    assert "cannot write to" in messages
    assert str(small_disk) in messages
    assert "repeat the command" in messages
    found = audit.run(audit.AuditConfig(run=case.run)).to_json()
    filler.unlink()
    assert set(os.listdir(small_disk / "run" / "masks")) == case.committed()  # no hidden leftovers
    assert found["missing"] > 0
    assert not any(found[kind] for kind in ("duplicate", "orphan", "stale", "unreadable"))
    before = case.committed()
    case.finish()
    assert before < case.committed()
    case.assert_whole(undisturbed, "a full disk")


def test_while_spooling(small_disk):
    uri = str(small_disk / "masks" / "u.parquet")
    message = r"u.parquet: cannot write to .*/disk/masks \(.*No space left.*\); free some space"
    with pytest.raises(StorageError, match=message), UnitWriter(uri, Receipt("u", "f")) as writer:
        filler = fill(small_disk)
        for number in range(100):
            writer.write(rows_of(str(number)))
    assert os.listdir(small_disk / "masks") == []
    filler.unlink()
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("0"))
        assert writer.commit().pairs == 1
    assert parquet.read_table(uri).num_rows == 50


def test_while_closing_the_spool(small_disk):
    """The last bytes are the footer."""
    uri = str(small_disk / "masks" / "u.parquet")
    with pytest.raises(StorageError, match="cannot write to"), UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("0", 3))
        filler = fill(small_disk)
        writer.commit()
    assert os.listdir(small_disk / "masks") == []
    filler.unlink()


def test_while_committing(small_disk, monkeypatch):
    """Where files have names from the start, as on network file systems, the final name needs room of its own."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    uri = str(small_disk / "masks" / "u.parquet")
    with pytest.raises(StorageError, match="u.parquet: cannot write to"), UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("0"))
        names = fill_names(small_disk)
        writer.commit()
    assert os.listdir(small_disk / "masks") == []
    storage.remove_folder(str(names))
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("0"))
        assert writer.commit().pairs == 1


def test_rows_of_a_long_video(small_disk, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    with (
        pytest.raises(StorageError, match=r"cannot write to .*/disk \(.*set TMPDIR to a larger disk"),
        FrameSpool() as spool,
    ):
        fill(small_disk)
        rows = rows_of("0").select(FRAME_ROWS.names)
        for _ in range(10):
            spool.add(0, rows.to_pydict())
        spool.close()
    assert os.listdir(small_disk) == ["filler"]


@pytest.mark.s3
def test_what_goes_to_and_comes_from_s3(s3, small_disk, monkeypatch, tmp_path):
    uri, content = f"{s3}/{tmp_path.name}/u", os.urandom(100_000)
    storage.write_bytes(uri, content)
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    filler = fill(small_disk)
    for call in (
        lambda: storage.write_bytes(f"{uri}2", content, replace=False),
        lambda: local_file(uri).__enter__(),
    ):
        with pytest.raises(StorageError, match=r"u2?: cannot write to .*/disk \(.*set TMPDIR to a larger disk"):
            call()
    filler.unlink()
    assert not storage.exists(f"{uri}2")
    assert storage.write_bytes(f"{uri}2", content, replace=False)
    assert os.listdir(small_disk) == []
