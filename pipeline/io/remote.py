"""Remote files, by URI. The only user of fsspec: everything else calls `storage`, which handles local files too.

`s3://` is served by s3fs, which takes endpoint and keys from the usual AWS environment. An error of a backend becomes
OSError if it concerns one file, StorageError if it concerns the storage (no answer after all retries, access denied).

Requests are repeated in two places that do not multiply: botocore repeats each request (RETRIES), and `_read_range`
repeats a download that breaks off (BODY_TRIES). A server that is gone costs a minute or two, a server that accepts
connections and never answers costs five.
"""

import contextlib
import errno
import functools
import io
import os
import random
import re
import time
from collections.abc import Generator, Iterator
from typing import Any, BinaryIO

import fsspec

from pipeline.io.parallel import bounded_map
from schemas.errors import InputError, StorageError

S3 = ("s3://", "s3a://")
PART_BYTES = 16 * 2**20  # of a multipart upload
BLOCK_BYTES = 8 * 2**20  # of a download
DOWNLOADS = 4  # blocks of one file that are fetched in parallel
BUFFER_BYTES = 2**20  # smallest request when only some parts of a file are read
# 46 s of waiting on average, 83 at most, between the eight attempts at a request.
RETRIES = {"retries": {"mode": "standard", "total_max_attempts": 8}, "connect_timeout": 10, "read_timeout": 30}
BODY_TRIES = 8
BODY_SECONDS = 60.0  # no further try starts after this time
UPLOAD_TRIES = 4  # of an upload that conflicts with another writer, or whose completion was not confirmed
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
# Error codes of S3 that concern the access as a whole: another file would fail in the same way.
ACCESS_CODES = {
    "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "RequestTimeTooSkewed",
    "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip
CONFLICT_CODES = {"ConditionalRequestConflict", "NoSuchUpload", "OperationAborted"}
KEYS_HINT = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, use a profile, or give the machine a role"
ERRNOS = {PermissionError: errno.EACCES, FileNotFoundError: errno.ENOENT, FileExistsError: errno.EEXIST}


def is_remote(uri: str) -> bool:
    """Return True for URIs that fsspec serves. `file://` is local."""
    return "://" in uri and not uri.startswith("file://")


@contextlib.contextmanager
def filesystem(uri: str) -> Iterator[fsspec.AbstractFileSystem]:
    """Yield the file system of `uri`. Errors of its backend leave the block as OSError or StorageError.

    Raises InputError if no backend serves the scheme, or if the URI or endpoint contains a user name.
    """
    scheme, is_s3 = uri.partition("://")[0], uri.startswith(S3)
    for text in (uri, *(os.environ.get(name, "") for name in ENDPOINTS if is_s3)):
        if "@" in re.split("[/?#]", text.partition("://")[2])[0]:
            where = "AWS_ENDPOINT_URL" if text != uri else uri
            raise InputError(
                f"{where}: do not put user names and keys into a URI, where logs would show them; {KEYS_HINT}"
            )
    try:
        fs = fsspec.filesystem(scheme, **(_s3_options() if is_s3 else {}))
    except (ValueError, ImportError, TypeError) as error:  # TypeError: the backend needs more than a URI
        raise InputError(f"{uri}: no storage backend for '{scheme}://': {error}") from None
    except Exception as error:
        if not _is_backend(error):
            raise
        raise StorageError(f"{uri}: the AWS settings are not usable: {error}; {KEYS_HINT}") from None
    if is_s3:
        fs.retries = 1  # botocore repeats requests; s3fs would multiply them, up to 25 times
    try:
        yield fs
    except (InputError, StorageError):
        raise
    except Exception as error:
        if not _is_backend(error) and not isinstance(error, OSError):
            raise
        cause = error
        if is_s3 and _answer(error)[0] in ("400", "403"):  # HEAD gives no reason, GET does
            try:
                fs.cat_file(uri, start=0, end=1)
            except Exception as fuller:
                cause = fuller
        raise _translated(cause, uri) from None


def _is_backend(error: Exception) -> bool:
    return type(error).__module__.startswith(("botocore", "aiobotocore", "aiohttp", "s3fs"))


@functools.cache
def _s3_options() -> dict[str, Any]:
    """Options of s3fs: retries, and anonymous access (to public buckets) if the environment has no keys."""
    import botocore.session

    anonymous = botocore.session.get_session().get_credentials() is None
    # A cached listing would hide commits of other processes.
    return {"anon": anonymous, "config_kwargs": RETRIES, "use_listings_cache": False}


def names(folder: str) -> list[str]:
    """Return the names of the files and folders directly in `folder`."""
    with filesystem(folder) as fs:
        inside = f"{fs._strip_protocol(folder)}/"  # a marker object of the folder itself is listed too
        entries = [entry.rstrip("/") for entry in fs.ls(folder, detail=False)]
        return [entry.removeprefix(inside) for entry in entries if entry.startswith(inside)]


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield `folder` and every folder below it: its relative path, and the names of its files."""
    with filesystem(folder) as fs:
        root = str(fs._strip_protocol(folder))
        for path, _, files in fs.walk(folder):
            yield path.removeprefix(root).strip("/"), list(files)


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable; fetches little more than is read."""
    if uri.startswith(S3):
        with io.BufferedReader(_S3File(uri), BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]
        return
    with filesystem(uri) as fs, fs.open(uri, "rb", block_size=BUFFER_BYTES) as file:
        yield file  # pyright: ignore[reportReturnType]


def size(uri: str) -> int:
    """Return the size of a file in bytes."""
    with filesystem(uri) as fs:
        return int(fs.size(uri) or 0)


def download(uri: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a file, and its content block by block. Fetches at most one block before the first is read.

    Close the blocks to end the requests ahead of the reader.
    """
    if not uri.startswith(S3):
        return size(uri), _blocks(uri)
    first = _read_range(uri, 0, BLOCK_BYTES)
    total = size(uri) if len(first) == BLOCK_BYTES else len(first)
    return total, _blocks_of_s3(uri, first, total)


def _blocks(uri: str) -> Generator[bytes, None, None]:
    with open_input(uri) as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _blocks_of_s3(uri: str, first: bytes, total: int) -> Generator[bytes, None, None]:
    yield first
    yield from bounded_map(
        lambda start: _read_range(uri, start, min(start + BLOCK_BYTES, total)),
        range(BLOCK_BYTES, total, BLOCK_BYTES),
        DOWNLOADS,
    )


def _read_range(uri: str, start: int, stop: int) -> bytes:
    """Fetch bytes start..stop-1 of an object on S3, or as many as it has; repeated if the download breaks off."""
    from aiohttp import ClientPayloadError
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    began = time.monotonic()
    tries = 0
    with filesystem(uri) as fs:
        while True:
            tries += 1
            try:
                return fs.cat_file(uri, start=start, end=stop)  # pyright: ignore[reportReturnType]
            except (ClientPayloadError, HTTPClientError, IncompleteReadError):
                if tries == BODY_TRIES or time.monotonic() - began > BODY_SECONDS:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)
            except OSError as error:
                if _answer(error)[0] == "InvalidRange":  # the object ends before `start`
                    return b""
                raise


class _S3File(io.RawIOBase):
    """An object on S3 as a seekable file. Each read is one request."""

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


def put(path: str, uri: str, condition: dict[str, str]) -> bool:
    """Upload a file in one step. Returns False, changing nothing, if `condition` (IfNoneMatch or IfMatch) fails."""
    tries = 0
    with filesystem(uri) as fs:
        while True:
            tries += 1
            try:
                if uri.startswith(S3):
                    _upload_to_s3(fs, path, uri, condition)
                else:
                    fs.put_file(path, uri, mode="create" if condition else "overwrite")
                return True
            except OSError as error:
                code, _ = _answer(error)
                if isinstance(error, FileExistsError) or (condition and code in ("PreconditionFailed", "412")):
                    return False
                if code not in CONFLICT_CODES or tries == UPLOAD_TRIES:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)


def _upload_to_s3(fs: Any, path: str, uri: str, condition: dict[str, str]) -> None:
    """Upload large files in parts, which bounds memory. The last request makes them visible; a failure aborts them."""
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
            with contextlib.suppress(Exception):  # the first error is the one to report
                fs.call_s3("abort_multipart_upload", **target)
            raise


def _translated(error: Exception, uri: str) -> OSError:
    """Return the OSError of one file, or StorageError if the error concerns every file of the storage."""
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    (code, status), name = _answer(error), type(error).__name__
    if code in ACCESS_CODES or name in ("NoCredentialsError", "PartialCredentialsError"):
        return StorageError(f"{uri}: the storage denies access: {reason} ({code or 'no keys'}); {KEYS_HINT}")
    known = next((number for kind, number in ERRNOS.items() if isinstance(error, kind)), None)
    busy = status >= 500 or status == 429 or code == "RequestTimeout"
    if known or (status and not busy) or name == "ParamValidationError" or not uri.startswith(S3):
        return OSError(known or getattr(error, "errno", None) or errno.EIO, reason, uri)
    server = next((f" at {os.environ[name]}" for name in ENDPOINTS if os.environ.get(name)), "")
    return StorageError(
        f"{uri}: the storage{server} failed after all retries: {code or name}: {reason}; "
        "check the network, the server and AWS_ENDPOINT_URL, then repeat the command"
    )


def _answer(error: BaseException) -> tuple[str, int]:
    """Return the error code and HTTP status that S3 sent, "" and 0 if it sent none. s3fs hides them in the cause."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, dict):
            status = (response.get("ResponseMetadata") or {}).get("HTTPStatusCode", 0)
            return (response.get("Error") or {}).get("Code", ""), status
    return "", 0
