"""Storages are probed: those that ignore conditions or lack links and locks are found before a run is created."""

import errno
import os
import time
from pathlib import Path

import pytest

from jobs import audit
from pipeline.io import guarantees, local, process, s3, storage
from pipeline.io.filesystem import UnsupportedError
from pipeline.io.guarantees import missing_guarantees, remove_probes
from pipeline.runs.run import Run
from schemas.errors import InputError, StorageError


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path) -> str:
    return str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture
def bucket(s3, tmp_path) -> str:
    return f"{s3}/{tmp_path.name}"


def test_a_good_storage_has_all_guarantees_and_is_left_as_it_was(folder):
    assert missing_guarantees(folder) == []
    assert not storage.names(folder, missing_ok=True, hidden=True)
    run = Run.start(folder, "f", {}, {})
    assert storage.names(folder, hidden=True) == ["run.json"]
    assert run.run_id


def test_a_probe_of_a_dead_process_is_removed(folder):
    """On S3 too, where it would stay for ever."""
    here = process.writer_name().removesuffix(str(os.getpid()))
    now, digits = f"{time.time():.0f}", "0" * 12
    gone = [f".probe-{here}4194305-{now}-{digits}", f".probe-far-1-1-1000-{digits}", f".probe-{digits}"]
    kept = [f".probe-{here}{os.getpid()}-{now}-{digits}", f".probe-far-1-1-{now}-{digits}", f".probe-{digits}0"]
    for name in (*gone, *kept):
        storage.write_bytes(storage.join(folder, name, "create"), b"1")
    assert storage.names(folder, hidden=True) == [f".probe-{digits}0"]
    remove_probes(folder)
    left = {path.partition("/")[0] for path, files in storage.walk(folder) if files}
    assert left == set(kept)


@pytest.mark.s3
@pytest.mark.parametrize(
    ("ignored", "in_parts", "texts"),
    [
        ("IfNoneMatch", False, ["If-None-Match"]),
        ("IfMatch", False, ["If-Match"]),
        ("IfNoneMatch", True, ["in parts"]),
        ("IfMatch", True, ["in parts"]),
    ],
)
def test_conditions_that_are_ignored_are_found(bucket, monkeypatch, ignored, in_parts, texts):
    upload = s3.upload

    def careless(path, uri, condition, **options):
        if options.get("in_parts", False) == in_parts:
            condition = {name: value for name, value in condition.items() if name != ignored}
        return upload(path, uri, condition, **options)

    monkeypatch.setattr(s3, "upload", careless)
    missing = missing_guarantees(bucket)
    assert len(missing) == len(texts)
    assert all(text in problem for text, problem in zip(texts, missing, strict=True))
    with pytest.raises(InputError, match=r"cannot guarantee .*use --unsafe-storage") as told:
        Run.start(bucket, "f", {}, {})
    assert told.value.exit_code == 2
    assert not storage.exists(f"{bucket}/run.json")


@pytest.mark.s3
def test_a_server_that_does_not_know_a_request(bucket, monkeypatch):
    def refuse(*_, **__):
        raise UnsupportedError("the storage does not support this request")

    monkeypatch.setattr(s3, "upload", refuse)
    assert set(missing_guarantees(bucket)) == {"the storage does not support this request"}


@pytest.mark.s3
def test_a_storage_that_fails_is_not_one_that_lacks_something(bucket, monkeypatch):
    def fail(*_, **__):
        raise StorageError("no answer")

    monkeypatch.setattr(s3, "upload", fail)
    with pytest.raises(StorageError, match="no answer"):
        missing_guarantees(bucket)


def test_locks_that_do_not_exist_are_found(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", fail)
    assert missing_guarantees(str(tmp_path)) == ["cannot replace a file (No locks available)"]


def test_a_listing_that_lags_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "names", lambda *_, **__: [])
    assert missing_guarantees(str(tmp_path)) == ["listings lag behind what is written and removed"]


def test_a_folder_that_cannot_be_written_to_is_no_finding(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(guarantees.storage, "write_bytes", fail)
    with pytest.raises(OSError, match="Read-only"):
        missing_guarantees(str(tmp_path))


def test_an_unsafe_run_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.runs.run.missing_guarantees", lambda folder: ["no locks"])
    folder = str(tmp_path / "run")
    with pytest.raises(InputError, match="no locks"):
        Run.start(folder, "f", {}, {})
    Run.start(folder, "f", {}, {}, unsafe=True)
    result = audit.run(audit.AuditConfig(run=folder))
    assert "created with --unsafe-storage: no locks" in result.text()


@pytest.mark.parametrize("number", local.NO_LINKS)
def test_without_hard_links_files_are_renamed(tmp_path, monkeypatch, number):
    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", fail)
    uri = str(tmp_path / "u")
    assert storage.write_bytes(uri, b"first", replace=False)
    assert not storage.write_bytes(uri, b"second", replace=False)
    assert Path(uri).read_bytes() == b"first"
    assert storage.write_bytes(uri, b"third")
    assert Path(uri).read_bytes() == b"third"
    assert os.listdir(tmp_path) == ["u"]
    assert missing_guarantees(str(tmp_path)) == []


def test_without_links_and_without_such_a_rename_a_run_is_refused(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(local, "_rename_new", fail)
    with pytest.raises(InputError, match="cannot create a file"):
        Run.start(str(tmp_path / "run"), "f", {}, {})


def test_folders_that_cannot_be_synced_are_no_failure_after_the_commit(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(handle):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", files_only)
    assert storage.write_bytes(str(tmp_path / "u"), b"content", replace=False)


def test_the_second_of_two_first_starts_opens_the_run(tmp_path, monkeypatch):
    folder = str(tmp_path / "run")
    missing = missing_guarantees

    def other_is_faster(folder):
        monkeypatch.setattr("pipeline.runs.run.missing_guarantees", missing)
        Run.start(folder, "f", {}, {})
        return missing(folder)

    monkeypatch.setattr("pipeline.runs.run.missing_guarantees", other_is_faster)
    assert Run.start(folder, "f", {}, {}) == Run.open(folder)
