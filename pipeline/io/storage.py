"""Every file of the project is read and written here, by local path or by URI.

Local paths are plain strings; anything with `scheme://` goes to `remote`. Everything raises OSError whatever the
backend: FileNotFoundError and so on for what is wrong with one file, StorageError where the storage itself fails (no
answer after all retries, keys refused, disk full).
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io import remote
from pipeline.io.remote import is_remote
from schemas.errors import InputError, StorageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def absolute(uri: str, base: str | None = None) -> str:
    """`uri` so that it means the same in every process: local paths absolute, counted from `base` (or the cwd)."""
    if is_remote(uri):
        return uri.rstrip("/")
    path = uri.removeprefix("file://")
    if base is not None and not os.path.isabs(path):
        return absolute(join(base, path))
    return os.path.abspath(os.path.expanduser(path))


def join(base: str, *names: str) -> str:
    """`base/name/...`, for paths and URIs."""
    return "/".join([base.rstrip("/") or "/", *names]) if names else base


def parent(uri: str) -> str:
    """Folder that holds `uri`."""
    return uri.rstrip("/").rpartition("/")[0] or ("/" if uri.startswith("/") else ".")


def safe_name(name: str) -> str:
    """`name` if it can be one component of a path; raises InputError if it would leave its folder, or is no text."""
    size = len(name.encode(errors="surrogatepass"))
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name or size > 200:
        raise InputError(f"id {name!r} cannot be a file name; rename it without '/', '\\', '..', at most 200 bytes")
    if not is_text(name):
        raise InputError(f"name {name!r} is not UTF-8; rename it")
    return name


def file_name(uri: str) -> str:
    """The last component of a path or URI, without the query of a URI."""
    path = uri.partition("?")[0] if is_remote(uri) else uri
    return path.rpartition("/")[2]


def is_text(value: str) -> bool:
    """Whether `value` can be written as UTF-8; names of files in another encoding, and half a JSON escape, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def exists(uri: str) -> bool:
    return remote.exists(uri) if is_remote(uri) else os.path.exists(uri)


def is_folder(uri: str) -> bool:
    return remote.is_folder(uri) if is_remote(uri) else os.path.isdir(uri)


def size(uri: str) -> int:
    """Bytes of a file."""
    return remote.size(uri) if is_remote(uri) else os.path.getsize(uri)


def names(folder: str, *, missing_ok: bool = False) -> list[str]:
    """Return the sorted names of the files and folders directly in `folder`, without hidden ones (leading dot).

    Raises FileNotFoundError if there is no such folder; with `missing_ok`, returns an empty list.
    """
    try:
        found = remote.names(folder) if is_remote(folder) else os.listdir(folder)
    except FileNotFoundError:
        if not missing_ok:
            raise
        return []
    return sorted(name for name in found if name and not name.startswith("."))


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder below `folder` and itself: its path relative to it ('' for itself), and its sorted file names.

    Hidden folders and files are left out; links to folders are followed, but for those that lead back to where one
    came from. Raises FileNotFoundError if there is no such folder.
    """
    names(folder)  # which fails if it is not there; walking would find nothing
    if is_remote(folder):
        below = remote.walk(folder)
    else:
        below = ((os.path.relpath(path, folder), files) for path, files in _walk(folder))
    for path, files in below:
        path = "" if path == "." else path
        if not any(part.startswith(".") for part in path.split("/")):
            yield path, sorted(name for name in files if name and not name.startswith("."))


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    above = {folder: frozenset([os.path.realpath(folder)])}  # of each folder: those on the way to it
    for path, below, files in os.walk(folder, followlinks=True):
        passed = above.pop(path)
        real = {name: os.path.realpath(os.path.join(path, name)) for name in below}
        below[:] = [name for name in below if real[name] not in passed]
        above |= {os.path.join(path, name): passed | {real[name]} for name in below}
        yield path, files


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """Whole content of a file; OSError (EFBIG) before memory is taken if it is larger than `limit` bytes."""

    def check(total: int) -> None:
        if limit is not None and total > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", uri)

    if is_remote(uri):
        return b"".join(remote.blocks(uri, check))
    check(size(uri))
    return Path(uri).read_bytes()


def digest(uri: str) -> str:
    """SHA-256 of a file's content, read piece by piece."""
    with open_input(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """A seekable binary file for reading; of remote ones, little more is fetched than is read."""
    with remote.open_input(uri) if is_remote(uri) else open(uri, "rb") as file:
        yield file


@contextlib.contextmanager
def local_file(uri: str) -> Iterator[str]:
    """A local path with the content of `uri`: the file itself, or a copy in the temporary folder, gone afterwards.

    The copy has no name, so that even a killed process leaves nothing; its path holds in this process only. Raises
    OSError (EFBIG) for a file that the disk could never hold, StorageError if there is no room for it now.
    """
    if not is_remote(uri):
        yield absolute(uri)
        return
    folder = tempfile.gettempdir()
    with _nameless_file(folder) as path:
        _fetch(uri, path, folder)
        yield path


@contextlib.contextmanager
def local_folder(uri: str) -> Iterator[str]:
    """A local path with the files directly in the folder `uri`: itself, or links to copies as of `local_file`."""
    if not is_remote(uri):
        yield absolute(uri)
        return
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="rvos-"))
        for name in names(uri):
            os.symlink(stack.enter_context(local_file(join(uri, name))), os.path.join(folder, safe_name(name)))
        yield folder


@contextlib.contextmanager
def spool(uri: str) -> Iterator[str]:
    """A fresh local path to write the future content of `uri` to; gone afterwards, committed or not.

    The file behind it has no name where the file system can do that, so that even a killed writer leaves nothing.
    Raises StorageError if the disk has no room for what is written.
    """
    folder = tempfile.gettempdir() if is_remote(uri) else parent(uri)
    with report_full_disk(uri, folder):
        os.makedirs(folder, exist_ok=True)
        with _nameless_file(folder) as path:
            yield path


@contextlib.contextmanager
def report_full_disk(uri: str, folder: str) -> Iterator[None]:
    """Around writing what becomes part of `uri` to a disk: StorageError says if `folder` is full, and the way out."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise _no_room(uri, folder, error.strerror or str(error)) from None


def commit(path: str, uri: str, *, replace: bool = False) -> bool:
    """Make the spooled file `path` the content of `uri` in one step; never is a part of it visible.

    Without `replace` the first writer wins: returns False, and changes nothing, if `uri` is there already
    (If-None-Match on object stores, a hard link locally).
    """
    if is_remote(uri):
        return remote.put(path, uri, {} if replace else {"IfNoneMatch": "*"})
    with report_full_disk(uri, parent(uri)):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        try:
            if replace:
                hidden = join(parent(uri), f".{uuid.uuid4().hex}.part")
                _link(path, hidden)
                try:
                    os.replace(hidden, uri)
                finally:
                    with contextlib.suppress(FileNotFoundError):  # it is still there if both were one file already
                        os.unlink(hidden)
            else:
                _link(path, uri)
        except FileExistsError:
            return False
        _sync_folder(parent(uri))
    return True


def version(uri: str) -> str:
    """What tells the present content of a file from any later one, for `swap`: the ETag, locally inode and time."""
    if is_remote(uri):
        return remote.version(uri)
    stat = os.stat(uri)
    return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def swap(path: str, uri: str, replaced: str) -> bool:
    """Make the spooled file `path` the content of `uri` in one step, if its version still is `replaced`.

    Returns False, changing nothing, if somebody else replaced it meanwhile (If-Match on S3, a lock locally).
    """
    if is_remote(uri):
        return remote.put(path, uri, {"IfMatch": replaced})
    with open(join(parent(uri), ".swap.lock"), "ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return os.path.exists(uri) and version(uri) == replaced and commit(path, uri, replace=True)


def create_bytes(uri: str, data: bytes) -> bool:
    """Write a new file in one piece; False, changing nothing, if it is there already."""
    with spool(uri) as path:
        Path(path).write_bytes(data)
        return commit(path, uri)


def write_bytes(uri: str, data: bytes) -> None:
    """Write or replace a file in one piece."""
    with spool(uri) as path:
        Path(path).write_bytes(data)
        commit(path, uri, replace=True)


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """A Parquet file as a table. Raises InputError if it is not Parquet, OSError if it cannot be read."""
    with open_parquet(uri) as file:
        return file.read(columns)


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file opened for reading, nothing read but its footer. Raises as `read_table`."""
    with open_input(uri) as handle:
        try:
            file = pq.ParquetFile(handle)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{uri} is not a Parquet file: {error}") from None
        with file:
            yield file


def write_table(uri: str, table: pa.Table, *, replace: bool = True, row_group_size: int = 100_000) -> bool:
    """Write a table as one Parquet file in one piece; returns and replaces as `commit`."""
    with spool(uri) as path:
        pq.write_table(table, path, compression="zstd", row_group_size=row_group_size)
        return commit(path, uri, replace=replace)


def remove(uri: str) -> None:
    """Remove a file; nothing happens if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        remote.remove(uri) if is_remote(uri) else os.unlink(uri)


def remove_folder(uri: str) -> None:
    """Remove a folder with all its content; nothing happens if it is not there."""
    with contextlib.suppress(FileNotFoundError):
        remote.remove_folder(uri) if is_remote(uri) else shutil.rmtree(uri)


def _fetch(uri: str, path: str, folder: str) -> None:
    """Write the content of a remote file to `path`, which lies in `folder`."""

    def check(total: int) -> None:
        disk = shutil.disk_usage(folder)
        if total > disk.total:
            raise OSError(
                errno.EFBIG, f"{total} bytes are more than {folder} could hold; set TMPDIR to a larger disk", uri
            )
        if total > disk.free:
            raise _no_room(uri, folder, f"{total} bytes to fetch, {disk.free} free")

    with open(path, "wb") as file:
        for block in remote.blocks(uri, check):
            with report_full_disk(uri, folder):
                file.write(block)
                file.flush()


def _no_room(uri: str, folder: str, reason: str) -> StorageError:
    elsewhere = ", or set TMPDIR to a larger disk" if folder == tempfile.gettempdir() else ""
    return StorageError(f"{uri}: no room in {folder} ({reason}); make some{elsewhere}, then repeat the command")


@contextlib.contextmanager
def _nameless_file(folder: str) -> Iterator[str]:
    """The path of a new file in `folder` that is gone when it is closed, or, where that cannot be, afterwards."""
    try:
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o666)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as file:
            os.chmod(file.name, 0o666 & ~_umask())
            yield file.name
        return
    try:
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _link(path: str, name: str) -> None:
    """A hard link to the file that `path` is, or leads to as a link in /proc does."""
    folder = os.open(parent(name), os.O_PATH)
    try:
        # Without src_dir_fd Python calls plain link(), which does not follow the link in /proc.
        os.link(os.path.abspath(path), name, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _sync_folder(folder: str) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
