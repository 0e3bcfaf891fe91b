"""A Parquet file whose pages may not unpack to more than its footer states: each is looked at when it is read.

Arrow takes as much memory for a page as the page's own header states, up to 2 GiB, whatever the footer says.
(Format: parquet.thrift, `PageHeader`, in Thrift's compact encoding.)
"""

import bisect
from typing import BinaryIO

from pipeline.io.wrapped_file import WrappedFile
from schemas.errors import InputError

MAX_FOOTER_BYTES = 2**26  # Arrow takes some twenty times as much memory
SLACK_BYTES = 2**16  # of a chunk of a column: some writers do not count headers
MAX_DEPTH = 8
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_FIXED = {_TRUE: 0, _FALSE: 0, _BYTE: 1, _DOUBLE: 8}


class CheckedPages(WrappedFile):
    """The bytes of `file`. Reading a chunk that `expect` has named raises InputError if its pages are too large."""

    def __init__(self, file: BinaryIO, name: str):
        """name: of the file in messages."""
        super().__init__(file)
        self._name = name
        self._expected: dict[int, tuple[int, int]] = {}
        self._starts: list[int] | None = None  # of what is expected, in order
        self.most: int | None = MAX_FOOTER_BYTES  # that are read at once, until the footer is known

    def expect(self, start: int, length: int, unpacked: int) -> None:
        """Let the chunk of a column at `start`, `length` bytes, have pages of `unpacked` bytes together."""
        self._expected[start] = (length, unpacked)
        self._starts = None

    def read(self, size: int = -1) -> bytes:
        if self.most is not None and size > self.most:
            raise InputError(f"{self._name} has a footer of {size} bytes; write it again, in larger row groups")
        at = self._file.tell()
        content = self._file.read(size)
        if self._starts is None:
            self._starts = sorted(self._expected)
        first, last = bisect.bisect_left(self._starts, at), bisect.bisect_left(self._starts, at + len(content))
        for start in self._starts[first:last]:
            if start in self._expected:
                length, unpacked = self._expected.pop(start)
                _require_sizes(content, start - at, min(start - at + length, len(content)), unpacked, self._name)
        return content


def _require_sizes(content: bytes, at: int, end: int, unpacked: int, name: str) -> None:
    total = 0
    while at < end:
        try:
            at, size, packed = _page(content, at)
        except IndexError:
            size = packed = -1
        if size < 0 or not 0 <= packed <= end - at:
            raise InputError(f"{name} has a damaged page; write it again")
        total += size
        if total > 2 * unpacked + SLACK_BYTES:
            raise InputError(f"a page of {name} unpacks to {size} bytes, its footer says {unpacked}")
        at += packed


def _page(content: bytes, at: int) -> tuple[int, int, int]:
    """Return the end of a page's header, its unpacked and its packed size. Raises IndexError if it is damaged."""
    number, sizes = 0, {2: -1, 3: -1}
    while kind := content[at]:
        at += 1
        if kind >> 4:
            number += kind >> 4
        else:
            number, at = _number(content, at)
        if kind & 15 == _I32 and number in sizes:
            value, at = _number(content, at)
            sizes[number] = max(sizes[number], value)  # a field may come twice
        else:
            at = _skip(content, at, kind & 15, MAX_DEPTH)
    return at + 1, sizes[2], sizes[3]


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = content[at] & 127
    shift = 0
    while content[at] & 128:
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise IndexError
        value |= (content[at] & 127) << shift
    return value, at + 1


def _number(content: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(content, at)
    return (value >> 1) ^ -(value & 1), at


def _skip(content: bytes, at: int, kind: int, depth: int) -> int:
    """Return the end of a value of Thrift. Raises IndexError if it is damaged."""
    if kind in _FIXED:
        return at + _FIXED[kind]
    if kind in (_I16, _I32, _I64):
        return _varint(content, at)[1]
    if kind == _BINARY:
        length, at = _varint(content, at)
        return at + length
    if not depth:
        raise IndexError
    if kind in (_LIST, _SET):
        head = content[at]
        count, at = (head >> 4, at + 1) if head >> 4 < 15 else _varint(content, at + 1)
        for _ in range(count):
            if at >= len(content):
                raise IndexError
            at = _skip(content, at, _BYTE if head & 15 in (_TRUE, _FALSE) else head & 15, depth - 1)
        return at
    if kind != _STRUCT:
        raise IndexError
    while field := content[at]:
        at = at + 1 if field >> 4 else _number(content, at + 1)[1]
        at = _skip(content, at, field & 15, depth - 1)
    return at + 1
