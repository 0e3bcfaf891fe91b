"""Remote files, by URI: S3, HTTP, and whatever else fsspec serves. `storage` handles local files too."""

import contextlib
import io
from collections.abc import Generator, Iterator
from typing import BinaryIO

from pipeline.io import http, s3
from pipeline.io.filesystem import S3, filesystem, refuse_keys

BUFFER_BYTES = 2**20  # smallest request when only some parts of a file are read


def is_remote(uri: str) -> bool:
    """Return True for URIs that this module serves. `file://` is local."""
    return "://" in uri and not uri.startswith("file://")


def exists(uri: str) -> bool:
    if not uri.startswith(http.HTTP):
        with filesystem(uri) as fs:
            return fs.exists(uri)
    try:
        size(uri)
    except FileNotFoundError:
        return False
    return True


def is_folder(uri: str) -> bool:
    if not uri.startswith(http.HTTP):
        with filesystem(uri) as fs:
            return fs.isdir(uri)
    try:
        return bool(names(uri))
    except FileNotFoundError:
        return False


def names(folder: str) -> list[str]:
    """Return the names of the files and folders directly in `folder`."""
    with filesystem(folder) as fs:
        inside = f"{fs._strip_protocol(folder)}/"  # a marker object of the folder itself is listed too
        if folder.startswith(http.HTTP):
            found = http.repeat(folder, lambda: fs.ls(folder, detail=False))
        else:
            found = fs.ls(folder, detail=False)
        entries = [entry.rstrip("/") for entry in found]
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
    refuse_keys(uri)
    if uri.startswith(S3):
        with io.BufferedReader(s3.S3File(uri), BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]
    elif uri.startswith(http.HTTP):
        with http.open_input(uri) as file:
            yield file
    else:
        with filesystem(uri) as fs, fs.open(uri, "rb", block_size=BUFFER_BYTES) as file:
            yield file  # pyright: ignore[reportReturnType]


def size(uri: str) -> int:
    """Return the size of a file in bytes."""
    refuse_keys(uri)
    if uri.startswith(http.HTTP):
        return http.size(uri)
    with filesystem(uri) as fs:
        return int(fs.size(uri) or 0)


def download(uri: str) -> tuple[int, Generator[bytes, None, None]]:
    """Return the size of a file, and its content block by block. Fetches at most one block before the first is read.

    Close the blocks to end the requests ahead of the reader.
    """
    refuse_keys(uri)
    if uri.startswith(S3):
        return s3.download(uri)
    if uri.startswith(http.HTTP):
        return http.download(uri)
    return size(uri), _blocks(uri)


def _blocks(uri: str) -> Generator[bytes, None, None]:
    with open_input(uri) as file:
        while block := file.read(s3.BLOCK_BYTES):
            yield block


def put(path: str, uri: str, condition: dict[str, str]) -> bool:
    """Upload a file in one step. Returns False, changing nothing, if `condition` (IfNoneMatch or IfMatch) fails."""
    if uri.startswith(S3):
        return s3.upload(path, uri, condition)
    with filesystem(uri) as fs:
        try:
            fs.put_file(path, uri, mode="create" if condition else "overwrite")
        except FileExistsError:
            return False
        return True
