"""Read and write every file of the project, by local path or by URI.

Local paths are plain strings. A URI with `scheme://` is served by `remote`. Every function raises OSError with any
backend: FileNotFoundError and so on for one file, StorageError if the storage itself fails (no answer after all
retries, access denied, disk full).
"""

import contextlib
import errno
import fcntl
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from pipeline.io import local, remote
from pipeline.io.filesystem import filesystem
from pipeline.io.remote import is_remote
from schemas.errors import InputError, ReplacedError
from schemas.printable import is_printable
from schemas.uri import ARCHIVES, parse, scheme_of

MAX_NAME_BYTES = 255  # of a file name, on all usual file systems
SWAP_LOCK = ".swap.lock"
PROBE = re.compile(
    r"\.probe-(?:(.+)-(\d{1,12})-)?[0-9a-f]{12}"
)  # in it a storage is probed: writer, seconds since 1970
MAX_BYTES = 2**30  # of a file that is read into memory
READ_TRIES = 5  # of a file that is replaced while it is read

Result = TypeVar("Result")


def absolute(uri: str, base: str | None = None) -> str:
    """Return `uri` in a form that every process understands: local paths absolute, relative to `base` or the cwd.

    Raises InputError for what is no path or URI; see `schemas.uri`.
    """
    uri = parse(uri)
    if scheme_of(uri) in ARCHIVES:
        member, _, archive = uri.partition("::")
        return f"{member}::{absolute(archive, base)}"
    if is_remote(uri):
        return uri.rstrip("/")
    if base is not None and not os.path.isabs(uri):
        return absolute(join(base, uri))
    return os.path.abspath(uri)


def join(base: str, *names: str) -> str:
    """Return `base/name/...`, for paths and URIs."""
    return "/".join([base.rstrip("/") or "/", *names]) if names else base


def parent(uri: str) -> str:
    """Return the folder that holds `uri`; of a member, the one that holds its archive."""
    uri = uri.partition("::")[2] if scheme_of(uri) in ARCHIVES else uri
    return uri.rstrip("/").rpartition("/")[0] or ("/" if uri.startswith("/") else ".")


def file_name(uri: str) -> str:
    """Return the last component of a path or URI, without the query of a URI; of a member, its own name."""
    if scheme_of(uri) in ARCHIVES:
        return uri.partition("::")[0].rpartition("/")[2]
    path = uri.partition("?")[0] if is_remote(uri) else uri
    return path.rpartition("/")[2]


def safe_name(name: str) -> str:
    """Return `name` if it can be a file name. Raises InputError if it would leave its folder, or is not text."""
    size = len(name.encode(errors="surrogatepass"))
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name or size > MAX_NAME_BYTES:
        raise InputError(
            f"id {name!r} cannot be a file name; rename it without '/', '\\', '..', at most {MAX_NAME_BYTES} bytes"
        )
    if not is_text(name):
        raise InputError(f"name {name!r} is not UTF-8; rename it")
    if not is_printable(name):
        raise InputError(f"id {name!a} cannot be a file name: it has characters that control a terminal; rename it")
    return name


def is_text(value: str) -> bool:
    """Return True if UTF-8 can encode `value`. It cannot encode file names in other encodings or half a JSON escape."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_local(uri: str) -> bool:
    """Return True for a file of this machine, and for a member of an archive on it."""
    return not is_remote(uri.partition("::")[2] if scheme_of(uri) in ARCHIVES else uri)


def origin(uri: str) -> str:
    """Return scheme and host or bucket of a URI, "" for local files; of a member, those of its archive."""
    return "" if is_local(uri) else "/".join(uri.rpartition("::")[2].split("/", 3)[:3])


def exists(uri: str) -> bool:
    return remote.exists(uri) if is_remote(uri) else os.path.exists(uri)


def is_folder(uri: str) -> bool:
    return remote.is_folder(uri) if is_remote(uri) else os.path.isdir(uri)


def size(uri: str) -> int:
    """Return the size of a file in bytes."""
    return remote.size(uri) if is_remote(uri) else os.path.getsize(uri)


def names(folder: str, *, missing_ok: bool = False, hidden: bool = False) -> list[str]:
    """Return the sorted names of the files and folders directly in `folder`, without hidden ones (leading dot).

    `hidden` adds those, except temporary files of this module. Raises FileNotFoundError if the folder does not exist;
    with `missing_ok`, returns an empty list.
    """
    try:
        found = remote.names(folder) if is_remote(folder) else os.listdir(folder)
    except FileNotFoundError:
        if not missing_ok:
            raise
        return []
    return sorted(name for name in found if name and (not name.startswith(".") or (hidden and not _is_ours(name))))


def first_names(folder: str, limit: int) -> list[str]:
    """Return the sorted names of at most `limit` files and folders directly in `folder`, without hidden ones."""
    if is_remote(folder):
        found = remote.first_names(folder, limit)
    else:
        with os.scandir(folder) as entries:
            found = [entry.name for entry in itertools.islice(entries, limit)]
    return sorted(name for name in found if name and not name.startswith("."))


def _is_ours(name: str) -> bool:
    """Return True for a hidden file that a killed `commit` or a `swap` leaves behind."""
    return name.endswith(".part") or name == SWAP_LOCK or bool(PROBE.fullmatch(name))


def walk(folder: str, leaving: list[str] | None = None) -> Iterator[tuple[str, list[str]]]:
    """Yield `folder` and every folder below it: the relative path ('' for `folder`), and the sorted file names.

    Hidden ones are among them. Links to folders are followed, except links to a folder that contains them. With the
    list `leaving`, links that leave `folder` are added to it instead. Raises FileNotFoundError if the folder does not
    exist.
    """
    names(folder)  # raises if the folder is missing; a walk would yield nothing
    for path, files in remote.walk(folder) if is_remote(folder) else local.walk(folder, leaving):
        yield path, sorted(filter(None, files))


def read_again(read: Callable[[], Result]) -> Result:
    """Return the result of `read`, repeated if a file is replaced while `read` reads it."""
    for _ in range(READ_TRIES - 1):
        with contextlib.suppress(ReplacedError):
            return read()
    return read()


def read_bytes(uri: str, limit: int = MAX_BYTES) -> bytes:
    """Return the content of a file. Raises OSError (EFBIG) if more than `limit` bytes come."""
    return read_again(lambda: _read_bytes(uri, limit))


def _read_bytes(uri: str, limit: int) -> bytes:
    with contextlib.ExitStack() as stack:
        if not is_remote(uri):
            stack.enter_context(local.report_failing_disk(uri))
        total, blocks = remote.download(uri) if is_remote(uri) else local.blocks(uri)
        stack.enter_context(contextlib.closing(blocks))
        if total > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", uri)
        return b"".join(local.bounded(blocks, limit, uri))


@contextlib.contextmanager
def open_input(uri: str, *, read_ahead: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable. Of remote files, little more is fetched than is read.

    Without `read_ahead`, each read of an object on S3 is one request for exactly these bytes. Raises StorageError if
    the machine or its mounts fail.
    """
    if is_remote(uri):
        with remote.open_input(uri, read_ahead=read_ahead) as file:
            yield file
    else:
        with local.report_failing_disk(uri), local.open_regular(uri) as file:
            yield file


@contextlib.contextmanager
def spool(uri: str) -> Iterator[str]:
    """Yield a new local path to write the future content of `uri` to, for `commit` or `swap`; removed afterwards.

    The file has no name where the file system allows that, so even a killed writer leaves nothing behind. Raises
    StorageError if the disk is full.
    """
    folder = local.temp_folder() if is_remote(uri) else parent(uri)
    with local.report_full_disk(uri, folder):
        os.makedirs(folder, exist_ok=True)
        with local.nameless_file(folder, 0o600 if is_remote(uri) else 0o666) as path:
            yield path


def commit(path: str, uri: str, *, replace: bool = False) -> str:
    """Make the spooled file `path` the content of `uri` in one step; a part of it is never visible.

    Returns its `version`. Without `replace` the first writer wins: returns "", changing nothing, if `uri` exists
    (If-None-Match on object stores, a hard link locally).
    """
    if is_remote(uri):
        return remote.put(path, uri, {} if replace else {"IfNoneMatch": "*"})
    with local.report_full_disk(uri, parent(uri)):
        return version(path) if local.link(path, uri, replace=replace) else ""


def version(uri: str) -> str:
    """Return a value that changes with the content of a file, for `swap`: the ETag, locally inode, time and size."""
    if is_remote(uri):
        with filesystem(uri) as fs:
            return str(fs.info(uri)["ETag"])
    with open(uri, "rb") as file:  # on network file systems, os.stat may answer with what it knew before
        return local.version(os.fstat(file.fileno()))


def versions(folder: str) -> dict[str, str]:
    """Return the `version` of each file directly in `folder` by name, from a listing, where the backend has them."""
    if is_remote(folder):
        return remote.versions(folder)
    with os.scandir(folder) as found:
        return {entry.name: local.version(entry.stat()) for entry in found if entry.is_file()}


def swap(path: str, uri: str, replaced: str) -> str:
    """Make the spooled file `path` the content of `uri` in one step, if its version still is `replaced`.

    Returns its new version; "", changing nothing, if another process replaced it (If-Match on S3, a lock locally).
    """
    if is_remote(uri):
        return remote.put(path, uri, {"IfMatch": replaced})
    with open(join(parent(uri), SWAP_LOCK), "ab", opener=local.open_own) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return commit(path, uri, replace=True) if os.path.exists(uri) and version(uri) == replaced else ""


def write_bytes(uri: str, data: bytes, *, replace: bool = True) -> str:
    """Write a file in one step. Returns and replaces as `commit`."""
    with spool(uri) as path:
        Path(path).write_bytes(data)
        return commit(path, uri, replace=replace)


def remove(uri: str) -> None:
    """Remove a file if it exists."""
    with contextlib.suppress(FileNotFoundError):
        if not is_remote(uri):
            os.unlink(uri)
            return
        with filesystem(uri) as fs:
            fs.rm_file(uri)


def remove_parts(folder: str) -> None:
    """Remove the hidden files that killed writers left in `folder`; on object stores there are none."""
    if not is_remote(folder):
        local.remove_parts(folder)


def remove_if_empty(folder: str) -> None:
    """Remove an empty folder. On object stores there is none."""
    if not is_remote(folder):
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def remove_folder(uri: str) -> None:
    """Remove a folder with all its content if it exists; of a link to one, the link."""
    with contextlib.suppress(FileNotFoundError):
        if not is_remote(uri):
            (os.unlink if os.path.islink(uri) else shutil.rmtree)(uri)
            return
        with filesystem(uri) as fs:
            fs.rm(uri, recursive=True)
