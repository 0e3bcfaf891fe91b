"""Remote files, by URI: S3, HTTP, and whatever else fsspec serves. `storage` handles local files too."""

import contextlib
import io
import shutil
import tempfile
from collections.abc import Generator, Iterator
from typing import BinaryIO

from pipeline.io import archive, http, local, s3
from pipeline.io.filesystem import S3, filesystem
from schemas.uri import scheme_of

ONLY_FILES = (*http.HTTP, *archive.ARCHIVE)
UNKNOWN = "unknown"  # version of a file
BUFFER_BYTES = 2**20  # smallest request when only some parts of a file are read


def is_remote(uri: str) -> bool:
    """Return True for URIs that this module serves. `file://` is local."""
    return scheme_of(uri) not in ("", "file")


def exists(uri: str) -> bool:
    if not uri.startswith(ONLY_FILES):
        with filesystem(uri) as fs:
            return fs.exists(uri)
    try:
        size(uri)
    except FileNotFoundError:
        return False
    return True


def is_folder(uri: str) -> bool:
    """Return True for a folder. Servers of HTTP and archives have none."""
    if uri.startswith(ONLY_FILES):
        return False
    with filesystem(uri) as fs:
        return fs.isdir(uri)


def names(folder: str) -> list[str]:
    """Return the names of the files and folders directly in `folder`."""
    with filesystem(folder) as fs:
        inside = f"{fs._strip_protocol(folder)}/"  # a marker object of the folder itself is listed too
        entries = [entry.rstrip("/") for entry in fs.ls(folder, detail=False)]
        return [entry.removeprefix(inside) for entry in entries if entry.startswith(inside)]


def first_names(folder: str, limit: int) -> list[str]:
    """Return the names of at most `limit` files and folders directly in `folder`; on S3, by one request."""
    if not folder.startswith(S3):
        return names(folder)[:limit]
    with filesystem(folder) as fs:
        bucket, key, _ = fs.split_path(folder)
        inside = f"{key.strip('/')}/" if key.strip("/") else ""
        answer = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=inside, Delimiter="/", MaxKeys=limit)
        found = [one["Key"] for one in answer.get("Contents", [])]
        found += [one["Prefix"] for one in answer.get("CommonPrefixes", [])]
        return [name.removeprefix(inside).rstrip("/") for name in found]


def versions(folder: str) -> dict[str, str]:
    """Return the ETag of each file directly in `folder`, by name."""
    with filesystem(folder) as fs:
        inside = f"{fs._strip_protocol(folder)}/"
        entries = fs.ls(folder, detail=True)
        return {entry["name"].removeprefix(inside): str(entry["ETag"]) for entry in entries if entry.get("ETag")}


def walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Yield `folder` and every folder below it: its relative path, and the names of its files."""
    with filesystem(folder) as fs:
        root = str(fs._strip_protocol(folder))
        for path, _, files in fs.walk(folder):
            yield path.removeprefix(root).strip("/"), list(files)


@contextlib.contextmanager
def open_input(uri: str, *, read_ahead: bool = True) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable; fetches little more than is read. `read_ahead`: see `storage.open_input`."""
    if uri.startswith(S3):
        raw = s3.S3File(uri)
        with io.BufferedReader(raw, BUFFER_BYTES) if read_ahead else raw as file:
            yield file  # pyright: ignore[reportReturnType]
    elif uri.startswith(http.HTTP):
        with http.open_input(uri) as file:
            yield file
    elif uri.startswith(archive.ARCHIVE):
        with _open_member(uri) as (_, file):
            if uri.startswith("tar:"):
                yield file
            else:
                with _unpacked(uri, file) as copy:
                    yield copy
    else:
        with filesystem(uri) as fs, fs.open(uri, "rb", block_size=BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def _unpacked(uri: str, file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a temporary copy of a member of a zip: zipfile unpacks it again for each step back in it."""
    with contextlib.ExitStack() as stack:
        with local.report_full_disk(uri, local.temp_folder()):
            copy = stack.enter_context(tempfile.TemporaryFile(prefix="rvos-"))
            shutil.copyfileobj(file, copy, BUFFER_BYTES)
        copy.seek(0)
        yield copy  # pyright: ignore[reportReturnType]


@contextlib.contextmanager
def _open_member(uri: str) -> Iterator[tuple[int, BinaryIO]]:
    outer = archive.split(uri)[2]
    opened = open_input(outer) if is_remote(outer) else local.open_regular(outer)
    with opened as file, archive.open_member(uri, file) as found:
        yield found


def size(uri: str) -> int:
    """Return the size of a file in bytes."""
    if uri.startswith(http.HTTP):
        return http.size(uri)
    if uri.startswith(archive.ARCHIVE):
        with _open_member(uri) as (found, _):
            return found
    with filesystem(uri) as fs:
        return int(fs.size(uri) or 0)


def download(uri: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a file, and its content block by block. Fetches at most one block before the first is read.

    Close the blocks to end the requests ahead of the reader.
    """
    if uri.startswith(S3):
        return s3.download(uri)
    if uri.startswith(http.HTTP):
        return http.download(uri)
    return size(uri), _blocks(uri)


def _blocks(uri: str) -> Generator[bytes, None, None]:
    with contextlib.ExitStack() as stack:
        is_member = uri.startswith(archive.ARCHIVE)
        file = stack.enter_context(_open_member(uri))[1] if is_member else stack.enter_context(open_input(uri))
        while block := file.read(s3.BLOCK_BYTES):
            yield block


def put(path: str, uri: str, condition: dict[str, str]) -> str:
    """Upload a file in one step. Returns its ETag, UNKNOWN if the backend has none; "", changing nothing, if
    `condition` (IfNoneMatch or IfMatch) fails."""
    if uri.startswith(S3):
        return s3.upload(path, uri, condition)
    with filesystem(uri) as fs:
        try:
            fs.put_file(path, uri, mode="create" if condition else "overwrite")
        except FileExistsError:
            return ""
        return UNKNOWN
