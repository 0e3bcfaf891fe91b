"""Operations on local files that the standard library lacks: nameless files, durable commits, walks along links."""

import contextlib
import ctypes
import errno
import functools
import os
import re
import shutil
import socket
import stat
import tempfile
import time
import uuid
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from pipeline.io import process
from schemas.errors import NotAFileError, StorageError

# Errors that concern one path. All others concern the machine or its mounts: another file would fail likewise.
PATH_ERRNOS = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL,
    errno.EFBIG, errno.EILSEQ, errno.EEXIST, errno.ENXIO, errno.ENODEV, errno.EOVERFLOW,
}  # fmt: skip
PART = re.compile(r"\.(?:(.+)-)?[0-9a-f]{32}\.part")  # the writer; earlier versions wrote less of it, or nothing
OLD_SECONDS = 7 * 86400.0  # without a write, after which the process of a hidden file on another host is taken for dead
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EMLINK)
AT_FDCWD, RENAME_NOREPLACE = -100, 1
BLOCK_BYTES = 2**20
MAX_UNTOLD_BYTES = 2**34  # that a server may send to the disk if it does not tell the size
NOT_A_FILE = "not a regular file, but a pipe, device or socket; copy its content to a file first"
DISK_FAILURES = (
    errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EREMOTEIO, errno.EHOSTDOWN, errno.ESHUTDOWN, errno.ETIMEDOUT,
)  # fmt: skip
KERNEL = ("/proc/", "/sys/")  # files that it makes up; an error of theirs is no fault of a disk
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def nameless_file(folder: str, mode: int = 0o666) -> Iterator[str]:
    """Yield the path of a new file in `folder`; without O_TMPFILE (network file systems) it has a hidden name.

    mode: permissions, less the umask.
    """
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, mode)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        _remove_parts_once(folder)
        path = os.path.join(folder, part_name())
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        try:
            yield path
        finally:
            os.close(handle)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        return
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def part_name() -> str:
    """Return a hidden name for a file of this process, see `remove_parts`."""
    return f".{process.writer_name()}-{uuid.uuid4().hex}.part"


def remove_parts(folder: str) -> None:
    """Remove hidden files in `folder` that killed processes left: of this host, or not written for long.

    What a living process of this host writes stays, whatever the clocks say.
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if name := PART.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process has removed it, or it is another user's
                    has_ended = process.has_ended(name[1] or "")
                    if _is_old(entry, folder) if has_ended is None else has_ended:
                        os.unlink(entry.path)


def _is_old(entry: os.DirEntry[str], folder: str) -> bool:
    """Compare a file with one that is made now: a server's clock gives both times, and clocks of hosts may jump."""
    path = os.path.join(folder, part_name())
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        now = min(os.fstat(handle).st_mtime, time.time())  # either may be wrong: what is kept for longer does no harm
    finally:
        os.close(handle)
        os.unlink(path)
    return now - entry.stat(follow_symlinks=False).st_mtime > OLD_SECONDS


@functools.cache
def _remove_parts_once(folder: str) -> None:
    """Before this process writes the first such file to `folder`: a listing may be long."""
    remove_parts(folder)


class TooLargeError(OSError):
    """A file has more bytes than its reader takes. Another file may have fewer."""


def open_regular(path: str) -> BinaryIO:
    """Open a file for reading. Raises NotAFileError for pipes, devices and sockets."""
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115 - returned
    except OSError as error:
        if error.errno != errno.ENXIO:  # of sockets
            raise
        raise NotAFileError(f"{path} is {NOT_A_FILE}") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise NotAFileError(f"{path} is {NOT_A_FILE}")
    return file


def open_own(path: str, flags: int) -> int:
    """Open a file that this program makes and changes, as an opener of `open`: no link is followed, no pipe waited for.

    Others may write into the folder too.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def blocks(path: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a regular file, and its content block by block: as a rule, one block."""
    file = open_regular(path)
    size = os.fstat(file.fileno()).st_size

    def read() -> Generator[bytes, None, None]:
        with file:
            yield file.read(size)
            while block := file.read(BLOCK_BYTES):  # files in /proc have no size
                yield block

    return size, read()


def bounded(blocks: Iterable[bytes], limit: int, uri: str) -> Iterator[bytes]:
    """Yield the blocks. Raises TooLargeError (EFBIG) once they have more than `limit` bytes together."""
    total = 0
    for block in blocks:
        total += len(block)
        if total > limit:
            raise TooLargeError(errno.EFBIG, f"larger than {limit} bytes", uri)
        yield block


def raise_machine_failure(error: Exception, uri: str) -> None:
    """Raise StorageError if `error`, of reading `uri`, does not concern this file alone."""
    if isinstance(error, StorageError):
        raise error
    if not isinstance(error, OSError) or error.errno is None or error.errno in PATH_ERRNOS or _is_of_kernel(uri):
        return
    reason = error.strerror or os.strerror(error.errno)
    raise StorageError(
        f"{uri}: cannot read on host {socket.gethostname()}: {reason}; check this machine and its mounts, then repeat "
        "the command"
    ) from None


def _is_of_kernel(uri: str) -> bool:
    return os.path.realpath(uri.rpartition("::")[2]).startswith(KERNEL)


@contextlib.contextmanager
def report_failing_disk(uri: str) -> Iterator[None]:
    """While `uri` is read: raise StorageError that names it if its disk or mount fails, which a read does not tell."""
    try:
        yield
    except OSError as error:
        if error.filename == uri or (error.filename is None and error.errno in DISK_FAILURES):
            raise_machine_failure(error, uri)
        if error.errno in DISK_FAILURES and _is_of_kernel(uri):
            raise OSError(errno.EINVAL, error.strerror, uri) from None
        raise


def temp_folder() -> str:
    """Return the folder for temporary files. Raises StorageError if there is none that can be written."""
    try:
        return tempfile.gettempdir()
    except FileNotFoundError as error:
        raise StorageError(
            f"{error.strerror}; set TMPDIR to a folder with free space that you may write, then repeat the command"
        ) from None


def unused_temp_folder() -> str | None:
    """Return TMPDIR if temporary files go elsewhere, since it is missing, full or not writable."""
    wanted = os.environ.get("TMPDIR")
    return wanted if wanted and os.path.abspath(wanted) != temp_folder() else None


@contextlib.contextmanager
def report_full_disk(uri: str, folder: str) -> Iterator[None]:
    """While a part of `uri` is written to `folder`: raise StorageError that names the folder if its disk is full.

    So it does if the folder for temporary files is gone, or may not be written any more.
    """
    try:
        yield
    except OSError as error:
        is_temporary = folder == temp_folder()
        is_gone = is_temporary and str(error.filename or "").startswith(folder)
        if not (error.errno in DISK_FULL or is_gone) or isinstance(error, TooLargeError):
            raise
        elsewhere = ", or set TMPDIR to a larger disk" if is_temporary else ""
        reason = error.strerror or str(error)
        way = "raise the limit of file sizes (ulimit -f)" if error.errno == errno.EFBIG else "free some space"
        raise StorageError(
            f"{uri}: cannot write to {folder} ({reason}); {way}{elsewhere}, then repeat the command"
        ) from None


def version(stat: os.stat_result) -> str:
    """Return a value that changes with the content of a file."""
    return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def link(path: str, uri: str, *, replace: bool) -> bool:
    """Give the file `path` the name `uri` in one step, and force both to disk. See `storage.commit`."""
    folder = os.path.dirname(uri) or "."
    hidden = os.path.join(folder, part_name())
    with open(path, "rb") as file, contextlib.ExitStack() as stack:
        os.fsync(file.fileno())
        handle = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, handle)
        try:
            # Without src_dir_fd Python calls plain link(), which does not follow a nameless file's link in /proc.
            os.link(os.path.abspath(path), hidden if replace else uri, src_dir_fd=handle, follow_symlinks=True)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            stack.callback(Path(hidden).unlink, missing_ok=True)
            shutil.copyfile(path, hidden)
            with open(hidden, "rb") as copy:
                os.fsync(copy.fileno())
            if not replace and not _rename_new(hidden, uri):
                return False
        if replace:
            _remove_parts_once(folder)
            stack.callback(Path(hidden).unlink, missing_ok=True)  # left if both names were one file already
            os.replace(hidden, uri)
        with contextlib.suppress(OSError):  # the file is visible: where folders cannot be synced, nothing is left to do
            os.fsync(handle)
    return True


def _rename_new(path: str, uri: str) -> bool:
    """Rename `path` to `uri` in one step, for file systems without hard links. Returns False if `uri` exists."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(uri), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        return False
    raise OSError(number, f"no hard links, and no rename that keeps an existing file: {os.strerror(number)}", uri)


def walk(folder: str, leaving: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield `folder` and every folder below it: its relative path, and the names of its files. See `storage.walk`."""
    root = os.path.realpath(folder)
    above = {folder: frozenset([root])}  # folder -> real paths of itself and its parents
    for path, below, files in os.walk(folder, followlinks=True):
        passed = above.pop(path)
        if leaving is not None:
            out = {name for name in (*below, *files) if not _is_below(os.path.join(path, name), root)}
            leaving += sorted(os.path.relpath(os.path.join(path, name), folder) for name in out)
            below[:], files = [name for name in below if name not in out], [name for name in files if name not in out]
        real = {name: os.path.realpath(os.path.join(path, name)) for name in below}
        below[:] = [name for name in below if real[name] not in passed]
        above |= {os.path.join(path, name): passed | {real[name]} for name in below}
        yield "" if path == folder else os.path.relpath(path, folder), files


def links_out(folder: str) -> Iterator[str]:
    """Yield the links below `folder` that lead to folders outside of it. No link is followed."""
    root = os.path.realpath(folder)
    for path, below, _ in os.walk(folder):
        yield from (each for name in below if not _is_below(each := os.path.join(path, name), root))


def _is_below(path: str, root: str) -> bool:
    """Return True unless `path` is a link to outside of the real path `root`. Its parents are below already."""
    return not os.path.islink(path) or os.path.commonpath([root, os.path.realpath(path)]) == root
