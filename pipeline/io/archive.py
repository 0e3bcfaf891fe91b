"""Members of tar and zip archives: `tar://MEMBER::ARCHIVE`. A member is read by its range of bytes, never extracted.

The headers of a tar file are read once per process; each later use compares the member's own header.
"""

import contextlib
import io
import tarfile
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from urllib.parse import quote, unquote

from pipeline.io.tar_headers import regular_members
from pipeline.io.zip_directory import open_zip, require_streamed
from schemas.errors import MediaError
from schemas.shown import shown
from schemas.uri import parse

NO_MEMBER = "no such member"
SPARSE = "the member is stored with holes; write the archive without the option S of tar"
ARCHIVE = ("tar://", "zip://")
MAX_MEMBERS = 500_000  # of a zip file
MAX_DIRECTORY_BYTES = 2**26  # of a zip file
MAX_RATIO = 200  # of a packed member of a zip file: videos hardly shrink, bombs do
INDEXES = 16  # of tar files, kept per process


@dataclass(frozen=True, slots=True)
class _Member:
    header: bytes  # the block before the content
    start: int
    size: int
    is_sparse: bool


class _Indexes:
    """The members of the tar files that were read last, by URI and name."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, _Member]] = {}

    def find(self, archive: str, file: BinaryIO, names: tuple[str, ...]) -> _Member | None:
        with self._lock:
            known = self._known.get(archive, {})
        found = next((known[name] for name in names if name in known), None)
        if found is not None:
            file.seek(found.start - tarfile.BLOCKSIZE)
            if file.read(tarfile.BLOCKSIZE) == found.header:
                return found
        members = self._read(archive, file)
        return next((members[name] for name in names if name in members), None)

    def _read(self, archive: str, file: BinaryIO) -> dict[str, _Member]:
        members = _tar_members(archive, file)
        with self._lock:
            self._known.pop(archive, None)
            self._known[archive] = members
            while len(self._known) > INDEXES:
                del self._known[next(iter(self._known))]
        return members


_INDEXES = _Indexes()


def split(uri: str) -> tuple[str, str, str]:
    """Return scheme, member and archive of a URI that `schemas.uri` has parsed."""
    scheme, _, rest = uri.partition("://")
    member, _, archive = rest.partition("::")
    return scheme, member, archive


def member_uri(scheme: str, member: str, archive: str) -> str:
    """Return the URI of a member. Raises InputError for a name that no URI may have."""
    return parse(f"{scheme}://{quote(member) if '%' in member or '::' in member else member}::{archive}")


@contextlib.contextmanager
def open_member(uri: str, file: BinaryIO) -> Iterator[tuple[int, BinaryIO]]:
    """Yield size and content, seekable, of the member `uri` of the open archive `file`.

    Raises FileNotFoundError if it does not exist, and MediaError (`corrupt`) for a damaged archive.
    """
    scheme, member, archive = split(uri)
    plain = unquote(member)
    # macOS writes accents as characters of their own. A name that is the same to the byte wins.
    forms = (unicodedata.normalize(form, plain) for form in ("NFC", "NFD"))
    names = tuple(dict.fromkeys((member, plain, *forms)))
    try:
        if scheme == "tar":
            found = _INDEXES.find(archive, file, tuple(name.removeprefix("./") for name in names))
            if found is None:
                raise FileNotFoundError(2, NO_MEMBER, uri)
            if found.is_sparse:
                raise tarfile.ReadError(SPARSE)
            with io.BufferedReader(_Part(file, found.start, found.size), 2**16) as content:
                yield found.size, content  # pyright: ignore[reportReturnType]
        else:
            with (
                open_zip(file, most_bytes=MAX_DIRECTORY_BYTES, most_members=MAX_MEMBERS) as zipped,
                _open_zipped(zipped, names, uri) as (size, content),
            ):
                yield size, content
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError) as error:
        reason = (
            f"{shown(uri)}: cannot read the archive ({error}); replace it, tar uncompressed and zip without password"
        )
        raise MediaError("corrupt", reason) from None


@contextlib.contextmanager
def _open_zipped(zipped: zipfile.ZipFile, names: tuple[str, ...], uri: str) -> Iterator[tuple[int, Any]]:
    names = (*names, *(name.replace("/", "\\") for name in names))  # as old tools of Windows write them
    found = next((entry for name in names if (entry := zipped.NameToInfo.get(name)) and not entry.is_dir()), None)
    if found is None:
        raise FileNotFoundError(2, NO_MEMBER, uri)
    if found.flag_bits & 1:
        raise zipfile.BadZipFile("the member is encrypted")
    require_streamed(found)
    if found.file_size > MAX_RATIO * found.compress_size + 2**20:
        raise zipfile.BadZipFile(f"{found.file_size} bytes are packed into {found.compress_size}")
    with zipped.open(found) as content:
        yield found.file_size, content


def _tar_members(archive: str, file: BinaryIO) -> dict[str, _Member]:
    members: dict[str, _Member] = {}
    try:
        for entry in regular_members(file):
            at = file.tell()
            file.seek(entry.offset_data - tarfile.BLOCKSIZE)
            header = file.read(tarfile.BLOCKSIZE)
            file.seek(at)
            members[entry.name.removeprefix("./")] = _Member(header, entry.offset_data, entry.size, entry.issparse())
    except tarfile.TarError as error:
        raise tarfile.ReadError(f"{shown(archive)}: {error}") from None
    return members


class _Part(io.RawIOBase):
    """A range of bytes of an open file, as a seekable stream. Ends early, as truncated, where the file does."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), max(0, self._size - self._at))
        self._file.seek(self._start + self._at)
        content = self._file.read(wanted) if wanted else b""
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)
