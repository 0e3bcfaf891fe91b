"""Detect truncated Matroska and WebM files: their header has no frame count, but the length of the file.

EBML (RFC 8794): a file is an EBML header element and a segment element. Each is an id, a length of 1 to 8 bytes whose
leading zeros encode its own size, and that many bytes of content. A length of all ones means unknown (live recordings).
"""

import os
from typing import BinaryIO

_HEADER = bytes.fromhex("1A45DFA3")
_SEGMENT = bytes.fromhex("18538067")


def missing_bytes(file: BinaryIO) -> int:
    """Return the number of bytes missing at the end of a file; 0 if complete, of unknown length or not Matroska."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(4) != _HEADER or (header := _length(file)) is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != _SEGMENT or (segment := _length(file)) is None:
        return 0
    return max(0, file.tell() + segment - size)


def _length(file: BinaryIO) -> int | None:
    first = file.read(1)
    if not first or not first[0]:
        return None
    size = 9 - first[0].bit_length()
    bits = 7 * size
    value = int.from_bytes(first + file.read(size - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
