"""Temporary folders of this process alone. Those that killed processes left are removed when the next one is made."""

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator

from pipeline.io import local

PREFIX = "rvos-"
NAME = re.compile(r"rvos-[a-z0-9_]{8}")  # as tempfile makes them
LOCK = ".lock"  # locked as long as the process lives that made the folder, in whatever container
YOUNG_SECONDS = 60.0  # without a lock a folder may have been made just now


@contextlib.contextmanager
def private_folder(parent: str | None = None) -> Iterator[str]:
    """Yield the path of a new folder in `parent`, by default in that for temporary files; removed afterwards.

    The folder has mode 0700. Raises OSError if it cannot be made, StorageError if `parent` does not exist.
    """
    parent = parent or local.temp_folder()
    remove_left(parent)
    with (
        # What other processes still write a moment later, such as logs of Ray's workers, is no error.
        tempfile.TemporaryDirectory(prefix=PREFIX, dir=parent, ignore_cleanup_errors=True) as folder,
        open(os.path.join(folder, f"{LOCK}.new"), "wb") as lock,  # subprocesses do not inherit it
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(lock.name, os.path.join(folder, LOCK))  # nobody sees the lock before it is locked
        yield folder


def remove_left(parent: str) -> None:
    """Remove folders of `private_folder` in `parent` that killed processes of this user left. No link is followed."""
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if NAME.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_if_left(entry)


def is_in_use(folder: str) -> bool:
    """Return True if another process of this user has a file below `folder` open.

    Ray's processes outlive the one that started them for a moment. If the folder is gone, they make it anew, open to
    all users, to write a log.
    """
    folder = os.path.realpath(folder)
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as files:  # it has ended, or is another user's
            if int(pid) != os.getpid() and any(_is_below(file.path, folder) for file in files):
                return True
    return False


def _is_below(link: str, folder: str) -> bool:
    try:
        return os.readlink(link).startswith(f"{folder}/")
    except OSError:  # it was closed just now
        return False


def _remove_if_left(entry: os.DirEntry[str]) -> None:
    status = entry.stat(follow_symlinks=False)
    if not entry.is_dir(follow_symlinks=False) or status.st_uid != os.getuid():
        return
    try:
        handle = os.open(os.path.join(entry.path, LOCK), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        if time.time() - status.st_mtime > YOUNG_SECONDS:
            os.rmdir(entry.path)  # fails unless it is empty
        return
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises BlockingIOError while the owner lives
            if not is_in_use(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)
    finally:
        os.close(handle)
