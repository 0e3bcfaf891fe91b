"""Machines that cannot reach the videos end the command; videos that do not exist become error rows."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.io import local
from pipeline.segment.reachable import MISSING_AT_START, Reachable
from pipeline.video import Selection, read_frames
from schemas.errors import MediaError, ServerError, StorageError
from tests.pipeline.segment.fake import segment

MISSING = MediaError("missing", "gone")
MACHINE = ("EIO", "ESTALE", "EMFILE", "ENFILE", "ENOMEM", "ENOTCONN", "ETIMEDOUT", "EHOSTDOWN", "EREMOTEIO", "ENOLCK")


@pytest.mark.parametrize("name", MACHINE)
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_failing_disk_or_mount_is_no_error_row(tmp_path, video, monkeypatch, name, kind):
    number = getattr(errno, name)

    def fail(*_, **__):
        raise OSError(number, os.strerror(number))

    (tmp_path / "v.mp4").write_bytes(b"x")
    monkeypatch.setattr("os.path.getsize", fail)  # of the video file
    monkeypatch.setattr(local, "open_regular", fail)  # of the pictures in the folder
    uri = video if kind == "folder" else str(tmp_path / "v.mp4")
    with pytest.raises(StorageError, match=f"cannot read on host .*{os.strerror(number)}") as told:
        next(read_frames(uri, Selection()))
    assert told.value.exit_code == 3


@pytest.mark.parametrize("number", sorted(local.PATH_ERRNOS))
def test_errors_of_one_path_cost_its_row(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    (tmp_path / "v.mp4").write_bytes(b"x")
    monkeypatch.setattr("os.path.getsize", fail)
    with pytest.raises(MediaError) as told:
        next(read_frames(str(tmp_path / "v.mp4"), Selection()))
    assert told.value.status == "missing"


def test_a_row_whose_folder_does_not_exist_costs_one_row(tmp_path):
    _, receipt, _ = segment(tmp_path, str(tmp_path / "mount" / "v.mp4"), ["a"])
    assert receipt.failed == {"missing": 1}


@pytest.fixture
def mounts(tmp_path) -> Iterator[list[Path]]:
    """Two mounts, each with a video that can be read."""
    folders = [tmp_path / name for name in ("first", "second")]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            folder.mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
            if subprocess.run(mount, capture_output=True, check=False).returncode:
                pytest.skip("NO MOUNTS HERE: run this test as root")
            stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], capture_output=True, check=False)
            (folder / "v.mp4").touch()
        yield folders


@pytest.mark.parametrize("which", [0, 1])
def test_a_mount_that_vanishes_ends_the_command(mounts, which, tmp_path):
    """Also if its empty folder stays, and if videos of another one were read since."""
    reachable = Reachable()
    for folder in mounts:
        reachable.check(str(folder / "v.mp4"), None)
        reachable.check(str(folder / "w.mp4"), MISSING)
    reachable.check(str(tmp_path / "other" / "w.mp4"), MISSING)  # a wrong row
    subprocess.run(["umount", str(mounts[which])], check=True)
    assert mounts[which].is_dir()
    with pytest.raises(StorageError, match=f"{mounts[which]}/v.mp4, which was read before, are gone on host"):
        reachable.check(str(mounts[which] / "x.mp4"), MISSING)


def test_a_folder_that_is_gone_ends_the_command_and_a_video_does_not(tmp_path):
    reachable, folder = Reachable(), tmp_path / "videos"
    folder.mkdir()
    (folder / "v.mp4").touch()
    reachable.check(str(folder / "v.mp4"), None)
    (folder / "v.mp4").unlink()
    reachable.check(str(folder / "w.mp4"), MISSING)
    folder.rmdir()
    with pytest.raises(StorageError, match="read before, are gone"):
        reachable.check(str(folder / "x.mp4"), MISSING)


def test_a_mount_whose_ticket_expires_ends_the_command(tmp_path, monkeypatch):
    """Permission is denied for one video, which costs its row, or for all of them, also those that were read before."""
    reachable = Reachable()
    (tmp_path / "v.mp4").touch()
    reachable.check(str(tmp_path / "v.mp4"), None)
    reachable.check(str(tmp_path / "w.mp4"), MISSING)

    def deny(*_) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(StorageError, match="read before, are gone"):
        reachable.check(str(tmp_path / "x.mp4"), MISSING)


def test_many_missing_videos_before_any_was_read_end_the_command(tmp_path):
    reachable, uri = Reachable(), str(tmp_path / "v.mp4")
    for _ in range(MISSING_AT_START - 1):
        reachable.check(uri, MISSING)
    with pytest.raises(StorageError, match="has found none of the first 10 videos"):
        reachable.check(uri, MISSING)


@pytest.mark.parametrize("error", [None, MediaError("corrupt", "x"), MediaError("missing", "target frame", "00003")])
def test_missing_videos_after_one_that_was_read_are_error_rows(tmp_path, error):
    reachable, uri = Reachable(), str(tmp_path / "v.mp4")
    reachable.check(uri, error)
    for _ in range(5 * MISSING_AT_START):
        reachable.check(uri, MISSING)


def server_error(uri: str) -> MediaError:
    error = MediaError("missing", "no answer")
    error.__cause__ = ServerError(f"{uri}: no answer")
    return error


def test_a_server_of_one_row_costs_one_row(tmp_path):
    reachable, good, bad = Reachable(), "s3://good/v.mp4", "https://no-such-host.invalid/v.mp4"
    with pytest.raises(ServerError):  # nothing was read yet: the network may be down
        reachable.check(bad, server_error(bad))
    reachable.check(good, None)
    for _ in range(MISSING_AT_START - 2):
        reachable.check(bad, server_error(bad))
    reachable.check(good, None)
    with pytest.raises(ServerError):
        reachable.check(bad, server_error(bad))
    with pytest.raises(ServerError):  # it was well before
        reachable.check(good, server_error(good))


@pytest.mark.parametrize("there", [True, False])
def test_a_server_that_fails_first_costs_one_row_if_another_place_of_the_run_answers(tmp_path, there):
    good, bad = tmp_path / "v.mp4", "https://no-such-host.invalid/v.mp4"
    good.write_bytes(b"x" if there else b"")
    other = str(good) if there else str(tmp_path / "gone.mp4")
    reachable = Reachable(lambda: [bad, "s3://bad name/\0", other])
    if there:
        reachable.check(bad, server_error(bad))
        return
    with pytest.raises(ServerError):  # nothing of the run can be reached: it is the network
        reachable.check(bad, server_error(bad))
