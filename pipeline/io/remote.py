"""The only user of fsspec: remote files, by URI. Everything else goes through `storage`, which knows local ones too.

`s3://` is served by s3fs, which takes endpoint and keys from the usual AWS environment. What a backend raises becomes
an OSError for what is wrong with one file, StorageError where the storage itself fails (no answer after all retries,
keys refused).

Retries are in two places that do not multiply: botocore repeats each request (RETRIES), and a body that breaks off on
its way here is asked for again (BODY_TRIES). A server that is gone is given up after a minute or two, one that accepts
connections and never answers after five.
"""

import contextlib
import errno
import functools
import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import fsspec

from pipeline.io.parallel import bounded_map
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


def exists(uri: str) -> bool:
    with os_errors(uri):
        return _fs(uri).exists(uri)


def is_folder(uri: str) -> bool:
    with os_errors(uri):
        return _fs(uri).isdir(uri)


def size(uri: str) -> int:
    """Bytes of a file."""
    with os_errors(uri):
        return int(_fs(uri).size(uri) or 0)


def names(folder: str) -> list[str]:
    """Names of what lies directly in `folder`."""
    with os_errors(folder):
        fs = _fs(folder)
        inside = f"{fs._strip_protocol(folder)}/"  # a marker of the folder itself is listed too
        entries = [entry.rstrip("/") for entry in fs.ls(folder, detail=False)]
        return [entry.removeprefix(inside) for entry in entries if entry.startswith(inside)]


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder below `folder` and itself, by its path relative to it, with its file names."""
    with os_errors(folder):
        fs = _fs(folder)
        inside = str(fs._strip_protocol(folder))
        for path, _, files in fs.walk(folder):
            yield path.removeprefix(inside).strip("/"), list(files)


@contextlib.contextmanager
def open_input(uri: str) -> Iterator[BinaryIO]:
    """A seekable binary file for reading; little more is fetched than is read."""
    if _is_s3(uri):
        with io.BufferedReader(_S3File(uri), BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]
        return
    with os_errors(uri), _fs(uri).open(uri, "rb", block_size=BUFFER_BYTES) as file:
        yield file  # pyright: ignore[reportReturnType]


def version(uri: str) -> str:
    """The ETag."""
    with os_errors(uri):
        return str(_fs(uri).info(uri)["ETag"])


def remove(uri: str) -> None:
    with os_errors(uri):
        _fs(uri).rm_file(uri)


def remove_folder(uri: str) -> None:
    with os_errors(uri):
        _fs(uri).rm(uri, recursive=True)


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


def blocks(uri: str, check: Callable[[int], None]) -> Iterator[bytes]:
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
    with os_errors(uri):
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


def put(path: str, uri: str, condition: dict[str, str]) -> bool:
    """Upload in one step; False, changing nothing, if `condition` (IfNoneMatch or IfMatch) does not hold."""
    with os_errors(uri):
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
def os_errors(uri: str) -> Iterator[None]:
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
