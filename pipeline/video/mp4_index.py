"""Refuse MP4 and MOV files whose index claims far more samples than the file could hold, before FFmpeg reads it.

FFmpeg makes an entry of tens of bytes for each sample, and some tables state their number without a byte for each. It
finds tables in boxes of many kinds, at any depth, and so does this module: every box but `mdat` may have boxes in it.
(Format: ISO/IEC 14496-12, boxes `stsz`, `stts`, `ctts` and `trun`; `cmvd` of QuickTime holds a packed `moov`.)
"""

import io
import os
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

LEAST_SAMPLES = 2**18  # of a track, whatever the size of its file
MAX_BOXES = 2**21  # those of fragments of a second each, for three days
MAX_TABLE_BYTES = 2**26
MAX_SEARCHED_BYTES = 2**20  # of boxes whose content has another form than a list of boxes
OUTERMOST = (b"mdat", b"trak")  # FFmpeg takes one that leaves its box for one of the outermost boxes
_HEADER = struct.Struct(">I4s")
_KIND = re.compile(rb"[\x20-\x7e\xa9][\x20-\x7e]{3}")
_TABLE = re.compile(rb"(?=stsz|stts|ctts|trun)")


class _Box(NamedTuple):
    kind: bytes
    at: int
    start: int  # of the content
    end: int


def fault(file: BinaryIO) -> str | None:
    """Return why FFmpeg should not read the index of an MP4 file: it would take too much memory. Else None.

    A sample has one byte at least, in a file of LEAST_SAMPLES and more.
    """
    size = file.seek(0, os.SEEK_END)
    limit, total = max(size, LEAST_SAMPLES), 0
    for count, box in enumerate(_boxes(file, size)):
        if count == MAX_BOXES:
            return f"its index has more than {MAX_BOXES} boxes"
        if box.kind == b"cmvd":
            packed = _unpacked(file, box)
            if packed is None or fault(io.BytesIO(packed)):
                return "its packed index is damaged, or claims too much"
        claimed = _claimed(file, box)
        total += claimed if box.kind == b"trun" else 0
        if max(claimed, total) > limit:
            return f"its index claims {max(claimed, total)} samples, too many for its size"
    return None


def _boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    """Yield each box of the file, and those within it."""
    waiting, seen = [(0, size)], set()  # places where a list of boxes begins and ends
    while waiting:
        at, end = waiting.pop()
        if at in seen or (box := _box(file, at, end, size)) is None:
            continue
        seen.add(at)
        if box.kind in OUTERMOST and box.end > end:
            waiting.append((at, size))
            seen.discard(at)
            continue
        box = box._replace(end=min(box.end, end))
        yield box
        waiting.append((box.end, end))
        if box.kind != b"mdat":
            waiting += [(place, box.end) for place in _contents(file, box)]


def _box(file: BinaryIO, at: int, end: int, size: int) -> _Box | None:
    """Return the box at `at`, whose end may be after that of the box around it; None if there is none."""
    if at + 8 > end:
        return None
    file.seek(at)
    length, kind = _HEADER.unpack(file.read(8).ljust(8, b"\0"))
    start = at + 8
    if length == 1:
        length, start = int.from_bytes(file.read(8), "big"), at + 16
    last = end if length == 0 else min(at + length, size)
    return _Box(kind, at, start, last) if last >= start and _KIND.fullmatch(kind) else None


def _contents(file: BinaryIO, box: _Box) -> list[int]:
    """Return the places in a box where boxes may begin."""
    if box.kind not in (b"meta", b"stsd"):
        return [box.start]
    file.seek(box.start)
    content = file.read(min(box.end - box.start, MAX_SEARCHED_BYTES))
    if box.kind == b"meta":  # with or without a version; FFmpeg begins at `hdlr`
        return [box.start + at - 4] if (at := content.find(b"hdlr")) >= 4 else []
    return [box.start + found.start() - 4 for found in _TABLE.finditer(content) if found.start() >= 4]


def _unpacked(file: BinaryIO, box: _Box) -> bytes | None:
    """Return the content of a packed index; None if it is damaged, or too large."""
    file.seek(box.start + 4)
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(file.read(min(box.end - box.start, MAX_TABLE_BYTES)), MAX_TABLE_BYTES)
    except zlib.error:
        return None
    return content if unpacker.eof else None


def _claimed(file: BinaryIO, box: _Box) -> int:
    """Return the number of samples that a table claims; 0 for boxes of other kinds."""
    if box.kind not in (b"stsz", b"stts", b"ctts", b"trun"):
        return 0
    file.seek(box.start)
    head = file.read(min(12, box.end - box.start)).ljust(12, b"\0")
    if box.kind == b"stsz":
        return int.from_bytes(head[8:12], "big")
    count = int.from_bytes(head[4:8], "big")
    if box.kind == b"trun":
        return count
    file.seek(box.start + 8)
    table = file.read(min(8 * count, max(0, box.end - box.start - 8), MAX_TABLE_BYTES))
    return int(np.frombuffer(table[: len(table) // 8 * 8], ">u4")[::2].sum(dtype=np.int64))
