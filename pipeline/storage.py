"""The only user of fsspec: every file of the project is read and written here, by local path or by URI.

Local paths are plain strings; anything with `scheme://` goes to fsspec (`s3://` by s3fs, which takes endpoint and keys
from the usual AWS environment). Everything raises OSError (FileNotFoundError and so on) whatever the backend.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError

PART_BYTES = 16 * 2**20  # of a multipart upload


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
        fs = _fs(uri)
        fs.invalidate_cache(parent(uri))
        return fs.exists(uri)


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
            fs.invalidate_cache()
            inside = f"{fs._strip_protocol(folder)}/"  # a marker of the folder itself is listed too
            entries = [entry.rstrip("/") for entry in fs.ls(folder, detail=False)]
            found = [entry.removeprefix(inside) for entry in entries if entry.startswith(inside)]
        else:
            found = os.listdir(folder)
    return sorted(name for name in found if name and not name.startswith("."))


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """Whole content of a file; OSError (EFBIG) before reading if it is larger than `limit` bytes."""
    if limit is not None and size(uri) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes", uri)
    if not is_remote(uri):
        return Path(uri).read_bytes()
    with _as_os_error(uri):
        content = _fs(uri).cat_file(uri)
    assert isinstance(content, bytes)
    return content


def digest(uri: str) -> str:
    """SHA-256 of a file's content, read piece by piece."""
    with open_input(uri) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """A seekable binary file for reading; of remote ones, little more is fetched than is read."""
    with _as_os_error(uri):
        file = _fs(uri).open(uri, "rb", block_size=2**20) if is_remote(uri) else open(uri, "rb")  # noqa: SIM115
        with file:
            yield file  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def local_file(uri: str) -> Iterator[str]:
    """A local path with the content of `uri`: the file itself, or a copy that is removed afterwards."""
    if not is_remote(uri):
        yield absolute(uri)
        return
    with tempfile.TemporaryDirectory(prefix="rvos-") as folder:
        path = os.path.join(folder, uri.rpartition("/")[2] or "file")
        with _as_os_error(uri):
            _fs(uri).get_file(uri, path)
        yield path


@contextlib.contextmanager
def local_folder(uri: str) -> Iterator[str]:
    """A local path with the files directly in the folder `uri`: the folder itself, or a copy removed afterwards."""
    if not is_remote(uri):
        yield absolute(uri)
        return
    with tempfile.TemporaryDirectory(prefix="rvos-") as folder:
        for name in names(uri):
            with _as_os_error(uri):
                _fs(uri).get_file(join(uri, name), os.path.join(folder, safe_name(name)))
        yield folder


@contextlib.contextmanager
def spool(uri: str) -> Iterator[str]:
    """A fresh local path to write the future content of `uri` to; gone afterwards, committed or not.

    The file behind it has no name where the file system can do that, so that even a killed writer leaves nothing.
    """
    folder = tempfile.gettempdir() if is_remote(uri) else parent(uri)
    os.makedirs(folder, exist_ok=True)
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


def commit(path: str, uri: str, *, replace: bool = False) -> bool:
    """Make the spooled file `path` the content of `uri` in one step; never is a part of it visible.

    Without `replace` the first writer wins: returns False, and changes nothing, if `uri` is there already
    (If-None-Match on object stores, a hard link locally).
    """
    if is_remote(uri):
        return _put(path, uri, replace)
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
            fs = _fs(uri)
            fs.invalidate_cache(parent(uri))
            return str(fs.info(uri)["ETag"])
        stat = os.stat(uri)
        return f"{stat.st_ino}-{stat.st_mtime_ns}-{stat.st_size}"


def swap(path: str, uri: str, replaced: str) -> bool:
    """Make the spooled file `path` the content of `uri` in one step, if its version still is `replaced`.

    Returns False, changing nothing, if somebody else replaced it meanwhile (If-Match on S3, a lock locally).
    """
    if is_remote(uri):
        return _put_if_match(path, uri, replaced)
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


def _fs(uri: str) -> fsspec.AbstractFileSystem:
    scheme = uri.partition("://")[0]
    try:
        return fsspec.filesystem(scheme, **(_s3_options() if scheme in ("s3", "s3a") else {}))
    except (ValueError, ImportError) as error:
        raise InputError(f"{uri}: no storage for '{scheme}://': {error}") from None


@functools.cache
def _s3_options() -> dict[str, Any]:
    """Patience with a busy server, and public buckets without keys where the environment has none."""
    import botocore.session

    patience = {"retries": {"mode": "standard", "max_attempts": 8}, "connect_timeout": 10, "read_timeout": 60}
    return {"anon": botocore.session.get_session().get_credentials() is None, "config_kwargs": patience}


def _put(path: str, uri: str, replace: bool) -> bool:
    """Upload in parts of bounded memory, completed in one step; what is not completed is aborted."""
    fs = _fs(uri)
    in_parts = uri.startswith(("s3://", "s3a://"))
    parts: dict[str, Any] = {"chunksize": PART_BYTES, "max_concurrency": 2} if in_parts else {}
    with _as_os_error(uri):
        try:
            fs.put_file(path, uri, mode="overwrite" if replace else "create", **parts)
        except FileExistsError:
            return False
        except OSError as error:  # some servers' 412 arrives as EINVAL
            if replace or error.errno != errno.EINVAL or not exists(uri):
                raise
            return False
    return True


def _put_if_match(path: str, uri: str, etag: str) -> bool:
    """As `_put`, in place of the object with this ETag."""
    fs = _fs(uri)
    bucket, key, _ = fs.split_path(uri)
    target = {"Bucket": bucket, "Key": key}
    with _as_os_error(uri), open(path, "rb") as file:
        try:
            if os.path.getsize(path) < 2 * PART_BYTES:
                fs.call_s3("put_object", **target, Body=file.read(), IfMatch=etag)
            else:
                _put_parts_if_match(fs, target, file, etag)
        except OSError as error:  # 412, under one of the names that s3fs and servers have for it
            if error.errno not in (errno.EINVAL, errno.EEXIST, errno.EBUSY) or version(uri) == etag:
                raise
            return False
        fs.invalidate_cache(parent(uri))
    return True


def _put_parts_if_match(fs: Any, target: dict[str, str], file: BinaryIO, etag: str) -> None:
    upload = fs.call_s3("create_multipart_upload", **target)["UploadId"]
    try:
        parts = []
        while content := file.read(PART_BYTES):
            number = len(parts) + 1
            part = fs.call_s3("upload_part", **target, UploadId=upload, PartNumber=number, Body=content)
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        whole = {"Parts": parts}
        fs.call_s3("complete_multipart_upload", **target, UploadId=upload, MultipartUpload=whole, IfMatch=etag)
    except BaseException:
        fs.call_s3("abort_multipart_upload", **target, UploadId=upload)
        raise


@contextlib.contextmanager
def _as_os_error(uri: str) -> Iterator[None]:
    """Give what a backend raises of its own (botocore and the like) the one type that callers handle."""
    try:
        yield
    except (OSError, InputError):
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "s3fs")):
            raise
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", uri) from None


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
