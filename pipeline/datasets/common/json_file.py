"""JSON of any size: small files whole, large ones entry by entry, with the place of each in the file.

The mask files of MeViS, ReVOS and YouTube-VIS have hundreds of megabytes, several times that as Python objects. They
are scanned once for where each entry lies; entries are then read as they are needed, so that memory stays flat.
"""

import errno
import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from pipeline.io import storage
from schemas.errors import InputError

MAX_BYTES = 2**29  # of a file that is read whole
MAX_ENTRY_BYTES = 2**28  # of one entry of a file that is read piece by piece
CHUNK = 2**22
ENDS = " \t\r\n,:]}"  # what may follow a value


class Entry(NamedTuple):
    """A value inside a file: the keys (of arrays: positions) that lead to it, and the bytes where it stands."""

    path: tuple[str | int, ...]
    value: Any
    start: int
    end: int


def load(uri: str) -> dict:
    """The object in a small file. Raises InputError: not there, too large, not sound, no object, a key twice."""
    try:
        content = json.loads(storage.read_bytes(uri, limit=MAX_BYTES), object_pairs_hook=_no_doubles)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} is not there") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise InputError(f"{uri} has more than {MAX_BYTES >> 20} MiB; divide it by videos") from None
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri} is not sound JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{uri} holds no JSON object")
    return content


def entries(uri: str, depth: int = 1) -> Iterator[Entry]:
    """What lies `depth` containers deep in a file of any size, in its order; plain values that lie higher too.

    At most one entry is in memory, of at most MAX_ENTRY_BYTES. Raises InputError as `load`, naming the byte.
    """
    try:
        with storage.open_input(uri) as file:
            yield from _Scanner(file, uri).document(depth)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} is not there") from None


def read_entry(file: BinaryIO, start: int, end: int) -> Any:
    """The value between two bytes of an open file, as `entries` gave them."""
    file.seek(start)
    return json.loads(file.read(end - start))


class _Scanner:
    """Walks through a file. Bytes are held as Latin-1 text, so that a position is a byte whatever the content."""

    def __init__(self, file: BinaryIO, uri: str):
        self._file, self._uri = file, uri
        self._text, self._at, self._before, self._ended = "", 0, 0, False
        self._decoder = json.JSONDecoder(object_pairs_hook=_no_doubles)

    def document(self, depth: int) -> Iterator[Entry]:
        self._grow()
        if self._text.startswith("\xef\xbb\xbf"):  # UTF-8 with a byte order mark
            self._at = 3
        yield from self._inside((), depth)
        if self._peek(at_end=True):
            raise self._broken("there is more after the end")

    def _inside(self, path: tuple[str | int, ...], depth: int) -> Iterator[Entry]:
        if depth == 0 or self._peek() not in "{[":
            yield self._value(path)
            return
        closing = "}" if self._take() == "{" else "]"
        seen: set[str] = set()
        count = 0
        while self._peek() != closing:
            if count and self._take() != ",":
                raise self._broken("a comma is missing")
            key: str | int = count
            if closing == "}":
                key = self._key()
                if key in seen:
                    raise self._broken(f"the key {key!r} is there twice")
                seen.add(key)
            yield from self._inside((*path, key), depth - 1)
            count += 1
        self._take()

    def _key(self) -> str:
        if self._peek() != '"':
            raise self._broken("a key in quotes is missing")
        key = self._value(()).value
        self._peek()
        if self._take() != ":":
            raise self._broken(f"a colon is missing after {key!r}")
        return key

    def _value(self, path: tuple[str | int, ...]) -> Entry:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if self._ended or (end < len(self._text) and self._text[end] in ENDS):  # else a number may go on
                    break
            except (ValueError, RecursionError) as error:
                if self._ended or isinstance(error, RecursionError):
                    raise self._broken(str(error)) from None
            if len(self._text) - self._at > MAX_ENTRY_BYTES:
                raise self._broken(f"an entry has more than {MAX_ENTRY_BYTES >> 20} MiB, or a quote or bracket is open")
            self._grow()
        raw, start = self._text[self._at : end], self._before + self._at
        self._at = end
        if not raw.isascii():
            try:
                value = json.loads(raw.encode("latin-1"))
            except ValueError as error:
                raise self._broken(str(error)) from None
        return Entry(path, value, start, start + len(raw))

    def _peek(self, at_end: bool = False) -> str:
        """The next character that is no space; '' at the end of the file, where that is allowed."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if self._ended:
                if at_end:
                    return ""
                raise self._broken("it ends too early")
            self._grow()

    def _take(self) -> str:
        character = self._peek()
        self._at += 1
        return character

    def _grow(self) -> None:
        """Drop what is done and read as much again as is left, at least a chunk."""
        left = self._text[self._at :]
        self._before += self._at
        more = self._file.read(max(CHUNK, len(left)))
        self._text, self._at, self._ended = left + more.decode("latin-1"), 0, not more

    def _broken(self, why: str) -> InputError:
        return InputError(f"{self._uri} is not sound JSON near byte {self._before + self._at}: {why}")


def _no_doubles(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content
