"""The only user of fsspec: every file of the project is read and written here, by local path or by URI.

Local paths are plain strings; anything with `scheme://` goes to fsspec (`s3://` by s3fs, which takes endpoint and keys
from the usual AWS environment). Everything raises OSError whatever the backend: FileNotFoundError and so on for what is
wrong with one file, StorageError where the storage itself fails (no answer after all retries, keys refused, disk full).

Retries are in two places that do not multiply: botocore repeats each request (RETRIES), and a body that breaks off on
its way here is asked for again (BODY_TRIES). A server that is gone is given up after a minute or two, one that accepts
connections and never answers after five.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import io
import os
import random
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.parallel import bounded_map
from schemas.errors import InputError, StorageError

PART_BYTES = 16 * 2**20  # of a multipart upload
BLOCK_BYTES = 8 * 2**20  # of a download
DOWNLOADS = 4  # blocks of one file on their way at once
BUFFER_BYTES = 2**20  # least that is fetched where only some places of a file are read
# 46 s of waiting on average, 83 at most, between the eight attempts at a request.
RETRIES = {"retries": {"mode": "standard", "total_max_attempts": 8}, "connect_timeout": 10, "read_timeout": 30}
BODY_TRIES = 8
BODY_SECONDS = 60.0  # after so long no further try is begun
UPLOAD_TRIES = 4  # of a whole upload that another writer crossed, or whose completion was not confirmed
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# What S3 says when not the file but the access as a whole is wrong: repeating it for another file is no use.
REFUSED = {
    "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
CROSSED = {"ConditionalRequestConflict", "NoSuchUpload", "OperationAborted"}
KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, use a profile, or give the machine a role"
ERRNOS = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}


def is_remote(uri: str) -> bool:
    """Whether `uri` names something behind fsspec; `file://` counts as local."""
    return "://" in uri and not uri.startswith("file://")


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
    """`name` if it can be one component of a path; raises InputError if it would leave its folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name or len(name.encode()) > 200:
        raise InputError(f"id {name!r} cannot be a file name; rename it without '/', '\\', '..', at most 200 bytes")
    return name


def exists(uri: str) -> bool:
    with _as_os_error(uri):
        if not is_remote(uri):
            return os.path.exists(uri)
        return _fs(uri).exists(uri)


def is_folder(uri: str) -> bool:
    with _as_os_error(uri):
        return _fs(uri).isdir(uri) if is_remote(uri) else os.path.isdir(uri)


def size(uri: str) -> int:
    """Bytes of a file."""
    with _as_os_error(uri):
        return int(_fs(uri).size(uri) or 0) if is_remote(uri) else os.path.getsize(uri)


def names(folder: str) -> list[str]:
    """Sorted names of what lies directly in `folder`; hidden files (leading dot) are left out.

    Raises FileNotFoundError if there is no such folder.
    """
    with _as_os_error(folder):
        if is_remote(folder):
            fs = _fs(folder)
            inside = f"{fs._strip_protocol(folder)}/"  # a marker of the folder itself is listed too
            entries = [entry.rstrip("/") for entry in fs.ls(folder, detail=False)]
            found = [entry.removeprefix(inside) for entry in entries if entry.startswith(inside)]
        else:
            found = os.listdir(folder)
    return sorted(name for name in found if name and not name.startswith("."))


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder below `folder` and itself: its path relative to it ('' for itself), and its sorted file names.

    Hidden folders and files are left out, links to folders not followed. Raises FileNotFoundError if there is no such
    folder.
    """
    names(folder)  # which fails if it is not there; walking would find nothing
    with _as_os_error(folder):
        if is_remote(folder):
            fs = _fs(folder)
            inside = str(fs._strip_protocol(folder))
            below = ((path.removeprefix(inside).strip("/"), list(files)) for path, _, files in fs.walk(folder))
        else:
            below = ((os.path.relpath(path, folder), files) for path, _, files in os.walk(folder))
        for path, files in below:
            path = "" if path == "." else path
            if not any(part.startswith(".") for part in path.split("/")):
                yield path, sorted(name for name in files if name and not name.startswith("."))


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """Whole content of a file; OSError (EFBIG) before memory is taken if it is larger than `limit` bytes."""

    def check(total: int) -> None:
        if limit is not None and total > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes", uri)

    if is_remote(uri):
        return b"".join(_blocks(uri, check))
    check(size(uri))
    return Path(uri).read_bytes()


def digest(uri: str) -> str:
    """SHA-256 of a file's content, read piece by piece."""
    with open_input(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """A seekable binary file for reading; of remote ones, little more is fetched than is read."""
    if _is_s3(uri):
        with io.BufferedReader(_S3File(uri), BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]
        return
    with _as_os_error(uri):
        file = _fs(uri).open(uri, "rb", block_size=BUFFER_BYTES) if is_remote(uri) else open(uri, "rb")  # noqa: SIM115
        with file:
            yield file  # pyright: ignore[reportReturnType]


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
    with room_for(uri, folder):
        os.makedirs(folder, exist_ok=True)
        with _nameless_file(folder) as path:
            yield path


@contextlib.contextmanager
def room_for(uri: str, folder: str) -> Iterator[None]:
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
        return _put(path, uri, {} if replace else {"IfNoneMatch": "*"})
    with room_for(uri, parent(uri)):
        with open(path, "rb") as file:
            os.fsync(file.fileno())
        try:
            if replace:
                hidden = join(parent(uri), f".{uuid.uuid4().hex}.part")
                _link(path, hidden)
                os.replace(hidden, uri)
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
    with _as_os_error(uri):
        if is_remote(uri):
            return str(_fs(uri).info(uri)["ETag"])
        stat = os.stat(uri)
        return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def swap(path: str, uri: str, replaced: str) -> bool:
    """Make the spooled file `path` the content of `uri` in one step, if its version still is `replaced`.

    Returns False, changing nothing, if somebody else replaced it meanwhile (If-Match on S3, a lock locally).
    """
    if is_remote(uri):
        return _put(path, uri, {"IfMatch": replaced})
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
    with _as_os_error(uri), contextlib.suppress(FileNotFoundError):
        _fs(uri).rm_file(uri) if is_remote(uri) else os.unlink(uri)


def remove_folder(uri: str) -> None:
    """Remove a folder with all its content; nothing happens if it is not there."""
    with _as_os_error(uri), contextlib.suppress(FileNotFoundError):
        _fs(uri).rm(uri, recursive=True) if is_remote(uri) else shutil.rmtree(uri)


def _is_s3(uri: str) -> bool:
    return uri.startswith(("s3://", "s3a://"))


def _fs(uri: str) -> fsspec.AbstractFileSystem:
    scheme = uri.partition("://")[0]
    for text in (uri, *(os.environ.get(name, "") for name in ENDPOINTS if _is_s3(uri))):
        if "@" in re.split("[/?#]", text.partition("://")[2])[0]:
            where = "AWS_ENDPOINT_URL" if text != uri else uri
            raise InputError(f"{where}: user names and keys do not go into a URI, where logs show them; {KEYS}")
    try:
        fs = fsspec.filesystem(scheme, **(_s3_options() if _is_s3(uri) else {}))
    except (ValueError, ImportError, TypeError) as error:  # the last of those that need more than a URI
        raise InputError(f"{uri}: no storage for '{scheme}://': {error}") from None
    if _is_s3(uri):
        fs.retries = 1  # botocore does it; s3fs would multiply, up to 25 times
    return fs


@functools.cache
def _s3_options() -> dict[str, Any]:
    """Patience with a busy server, and public buckets without keys where the environment has none."""
    import botocore.session

    anonymous = botocore.session.get_session().get_credentials() is None
    # Listings kept by s3fs would hide what other processes commit.
    return {"anon": anonymous, "config_kwargs": RETRIES, "use_listings_cache": False}


def _blocks(uri: str, check: Callable[[int], None]) -> Iterator[bytes]:
    """The content of a remote file block by block; its size is handed to `check` before more than one is fetched."""
    if not _is_s3(uri):
        check(size(uri))
        with open_input(uri) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
        return
    first = _read_range(uri, 0, BLOCK_BYTES)
    total = size(uri) if len(first) == BLOCK_BYTES else len(first)
    check(total)
    yield first

    def read(start: int) -> bytes:
        return _read_range(uri, start, min(start + BLOCK_BYTES, total))

    yield from bounded_map(read, range(BLOCK_BYTES, total, BLOCK_BYTES), DOWNLOADS)


def _read_range(uri: str, start: int, stop: int) -> bytes:
    """Bytes start..stop-1 of an object on S3, or what there is of them; asked for again if they break off."""
    from aiohttp import ClientPayloadError
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    began = time.monotonic()
    with _as_os_error(uri):
        for tries in range(1, BODY_TRIES + 1):
            try:
                return _fs(uri).cat_file(uri, start=start, end=stop)  # pyright: ignore[reportReturnType]
            except (ClientPayloadError, HTTPClientError, IncompleteReadError):
                if tries == BODY_TRIES or time.monotonic() - began > BODY_SECONDS:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)
            except OSError as error:
                if _code(error) == "InvalidRange":  # there is nothing at `start`
                    return b""
                raise
    raise AssertionError("the last try returns or raises")


class _S3File(io.RawIOBase):
    """An object on S3 as a seekable file, each read a request."""

    def __init__(self, uri: str):
        self._uri, self._size, self._at = uri, size(uri), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        content = _read_range(self._uri, self._at, stop) if stop > self._at else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


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
        for block in _blocks(uri, check):
            with room_for(uri, folder):
                file.write(block)
                file.flush()


def _put(path: str, uri: str, condition: dict[str, str]) -> bool:
    """Upload in one step; False, changing nothing, if `condition` (IfNoneMatch or IfMatch) does not hold."""
    with _as_os_error(uri):
        for tries in range(1, UPLOAD_TRIES + 1):
            try:
                _upload(path, uri, condition)
                return True
            except OSError as error:
                if isinstance(error, FileExistsError) or (condition and _code(error) in ("PreconditionFailed", "412")):
                    return False
                if _code(error) not in CROSSED or tries == UPLOAD_TRIES:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)
    raise AssertionError("the last try returns or raises")


def _upload(path: str, uri: str, condition: dict[str, str]) -> None:
    """Large files go up in parts of bounded memory, completed in one step; what is not completed is aborted."""
    fs = _fs(uri)
    if not _is_s3(uri):
        fs.put_file(path, uri, mode="create" if condition else "overwrite")
        return
    bucket, key, _ = fs.split_path(uri)
    target = {"Bucket": bucket, "Key": key}
    with open(path, "rb") as file:
        if os.path.getsize(path) < 2 * PART_BYTES:
            fs.call_s3("put_object", **target, **condition, Body=file.read())
            return
        target["UploadId"] = fs.call_s3("create_multipart_upload", **target)["UploadId"]
        try:
            parts = []
            while content := file.read(PART_BYTES):
                number = len(parts) + 1
                part = fs.call_s3("upload_part", **target, PartNumber=number, Body=content)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
            fs.call_s3("complete_multipart_upload", **target, **condition, MultipartUpload={"Parts": parts})
        except BaseException:
            with contextlib.suppress(Exception):  # what went wrong before is what is told
                fs.call_s3("abort_multipart_upload", **target)
            raise


@contextlib.contextmanager
def _as_os_error(uri: str) -> Iterator[None]:
    """Give what a backend raises of its own (botocore and the like) the one type that callers handle."""
    try:
        yield
    except (InputError, StorageError):
        raise
    except Exception as error:
        backend = type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "s3fs"))
        if not is_remote(uri) or not (backend or isinstance(error, OSError)):
            raise
        raise _translated(_in_full(error, uri), uri) from None


def _in_full(error: Exception, uri: str) -> Exception:
    """What is refused to HEAD comes without a reason; GET tells it."""
    if _is_s3(uri) and _code(error) in ("400", "403"):
        try:
            _fs(uri).cat_file(uri, start=0, end=1)
        except Exception as fuller:
            return fuller
    return error


def _translated(error: Exception, uri: str) -> OSError:
    """What a remote storage raised, as the error of one file, or as StorageError if it concerns all of them."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    code, name = _code(error), type(error).__name__
    if code in REFUSED or name in ("NoCredentialsError", "PartialCredentialsError"):
        return StorageError(f"{uri}: the storage refuses the access: {reason} ({code or 'no keys'}); {KEYS}")
    known = next((number for kind, number in ERRNOS.items() if isinstance(error, kind)), None)
    status = (_response(error).get("ResponseMetadata") or {}).get("HTTPStatusCode", 0)
    busy = status >= 500 or status == 429 or code == "RequestTimeout"
    if known or (status and not busy) or name == "ParamValidationError" or not _is_s3(uri):
        return OSError(known or getattr(error, "errno", None) or errno.EIO, reason, uri)
    server = next((f" at {os.environ[name]}" for name in ENDPOINTS if os.environ.get(name)), "")
    return StorageError(
        f"{uri}: the storage{server} fails, after all retries: {code or name}: {reason}; "
        "check the network, the server and AWS_ENDPOINT_URL, then repeat the command"
    )


def _response(error: BaseException) -> dict:
    """The answer of S3 that an error was made of, by botocore or from there by s3fs."""
    for each in (error, error.__cause__):
        if isinstance(found := getattr(each, "response", None), dict):
            return found
    return {}


def _code(error: BaseException) -> str:
    return (_response(error).get("Error") or {}).get("Code", "")


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
