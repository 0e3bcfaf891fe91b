"""Read and write objects on S3.

All requests of one reader name the ETag of its first answer, so that it sees one version of the object: it raises
ReplacedError if the object is replaced meanwhile. A download that breaks off is repeated (BODY_TRIES), apart from the
requests that botocore repeats. A server that is gone costs a minute or two, a server that never answers costs five.
"""

import asyncio
import contextlib
import io
import os
import random
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from pipeline.io.filesystem import answer_of, filesystem
from pipeline.io.parallel import bounded_map
from schemas.errors import ReplacedError

PART_BYTES = 64 * 2**20  # of a multipart upload
SINGLE_PUT_BYTES = 2**30  # a larger file goes up in parts
BLOCK_BYTES = 8 * 2**20  # of a download
TAIL_BYTES = 64 * 2**10  # read at once when a file is opened: most footers of Parquet files
DOWNLOADS = 4  # blocks of one file that are fetched in parallel
BODY_TRIES = 8
BODY_SECONDS = 60.0  # no further try starts after this time
UPLOAD_TRIES = 4  # of an upload that conflicts with another writer, or whose completion was not confirmed
CONFLICT_CODES = {"ConditionalRequestConflict", "NoSuchUpload", "OperationAborted"}
CHANGED_CODES = {"PreconditionFailed", "412"}


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object."""

    uri: str
    etag: str
    size: int


def read_range(uri: str, wanted: str, version: Version | None = None) -> tuple[bytes, Version]:
    """Fetch a range such as `0-99` or `-100` (the last bytes) of an object. Returns its bytes and the version read.

    Raises ReplacedError if the object is not `version` any more.
    """
    from aiohttp import ClientPayloadError
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    began, tries = time.monotonic(), 0
    with filesystem(uri) as fs:
        while True:
            tries += 1
            try:
                fetched = asyncio.run_coroutine_threadsafe(_get(fs, uri, wanted, version), fs.loop)
                return fetched.result()
            except (ClientPayloadError, HTTPClientError, IncompleteReadError):
                if tries == BODY_TRIES or time.monotonic() - began > BODY_SECONDS:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)
            except OSError as error:
                code, _ = answer_of(error)
                if code == "InvalidRange":  # the object is empty
                    return b"", Version(uri, "", 0)
                if version and code in CHANGED_CODES:
                    raise ReplacedError(f"{uri} was replaced while it was read; repeat the command") from None
                raise


async def _get(fs: Any, uri: str, wanted: str, version: Version | None) -> tuple[bytes, Version]:
    bucket, key, _ = fs.split_path(uri)
    condition = {"IfMatch": version.etag} if version else {}
    answer = await fs._call_s3("get_object", Bucket=bucket, Key=key, Range=f"bytes={wanted}", **condition)
    try:
        content = await answer["Body"].read()
    finally:
        answer["Body"].close()
    total = answer.get("ContentRange", "").rpartition("/")[2]
    return content, Version(uri, answer["ETag"], int(total) if re.fullmatch("[0-9]{1,18}", total) else len(content))


def download(uri: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of an object, and its content block by block. The first block is fetched at once."""
    first, version = read_range(uri, f"0-{BLOCK_BYTES - 1}")
    return version.size, _blocks(uri, first, version)


def _blocks(uri: str, first: bytes, version: Version) -> Generator[bytes, None, None]:
    yield first
    yield from bounded_map(
        lambda start: read_range(uri, f"{start}-{min(start + BLOCK_BYTES, version.size) - 1}", version)[0],
        range(len(first), version.size, BLOCK_BYTES),
        DOWNLOADS,
    )


class S3File(io.RawIOBase):
    """One version of an object as a seekable stream. Each read is one request, except of its last TAIL_BYTES."""

    def __init__(self, uri: str):
        self._tail, self.version = read_range(uri, f"-{TAIL_BYTES}")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.version.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self.version.size)
        in_tail = self._at - (self.version.size - len(self._tail))
        if stop <= self._at:
            content = b""
        elif in_tail >= 0:
            content = self._tail[in_tail : in_tail + len(buffer)]
        else:
            content, _ = read_range(self.version.uri, f"{self._at}-{stop - 1}", self.version)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def upload(path: str, uri: str, condition: dict[str, str], *, in_parts: bool = False) -> str:
    """Upload a file in one step. Returns its ETag; "", changing nothing, if `condition` (IfNoneMatch, IfMatch) fails.

    Large files go up in parts, small ones if `in_parts`.
    """
    tries = 0
    with filesystem(uri) as fs:
        while True:
            tries += 1
            try:
                if os.path.getsize(path) <= SINGLE_PUT_BYTES and not in_parts:
                    with open(path, "rb") as file:
                        return fs.call_s3("put_object", **_target(fs, uri), **condition, Body=file)["ETag"]
                return _upload_parts(fs, path, uri, condition)
            except OSError as error:
                code, _ = answer_of(error)
                if condition and (isinstance(error, FileExistsError) or code in CHANGED_CODES):
                    return ""
                if code not in CONFLICT_CODES or tries == UPLOAD_TRIES:
                    raise
                time.sleep(random.random() * 0.1 * 2**tries)


def _upload_parts(fs: Any, path: str, uri: str, condition: dict[str, str]) -> str:
    """Upload in parts; returns the ETag. The last request makes the object visible; a failure removes the parts."""
    target = _target(fs, uri)
    target["UploadId"] = fs.call_s3("create_multipart_upload", **target)["UploadId"]
    try:
        parts = []
        with open(path, "rb") as file:
            while content := file.read(PART_BYTES):
                number = len(parts) + 1
                part = fs.call_s3("upload_part", **target, PartNumber=number, Body=content)
                parts.append({"PartNumber": number, "ETag": part["ETag"]})
        return fs.call_s3("complete_multipart_upload", **target, **condition, MultipartUpload={"Parts": parts})["ETag"]
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to report
            fs.call_s3("abort_multipart_upload", **target)
        raise


def _target(fs: Any, uri: str) -> dict[str, str]:
    bucket, key, _ = fs.split_path(uri)
    return {"Bucket": bucket, "Key": key}
