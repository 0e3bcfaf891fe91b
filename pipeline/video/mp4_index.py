"""Refuse MP4 and MOV files whose index claims far more samples than the file could hold, before FFmpeg reads it.

FFmpeg makes an entry of tens of bytes for each sample, and some tables state their number without a byte for each.
(Format: ISO/IEC 14496-12, boxes `stsz`, `stts`, `ctts` and `trun`.)
"""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

LEAST_SAMPLES = 2**18  # of a track, whatever the size of its file
CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"edts"}
MAX_BOXES = 100_000
MAX_TABLE_BYTES = 2**26
_HEADER = struct.Struct(">I4s")


def too_many_samples(file: BinaryIO) -> int | None:
    """Return the number of samples that a table of an MP4 file claims, if the file is too small for it; else None.

    A sample has one byte at least, in a file of LEAST_SAMPLES and more.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if file.read(12)[4:8] not in (b"ftyp", b"moov", b"free", b"skip", b"wide", b"mdat", b"moof", b"styp", b"pnot"):
        return None
    limit, total = max(size, LEAST_SAMPLES), 0
    for kind, start, end in _boxes(file, 0, size):
        claimed = _claimed(file, kind, start, end)
        total += claimed if kind == b"trun" else 0
        if max(claimed, total) > limit:
            return max(claimed, total)
    return None


def _boxes(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, start and end of the content of each box, those in containers too."""
    waiting, count = [(start, stop)], 0
    while waiting and count < MAX_BOXES:
        at, end = waiting.pop()
        count += 1
        if at + 8 > end:
            continue
        file.seek(at)
        length, kind = _HEADER.unpack(file.read(8).ljust(8, b"\0"))
        content = at + 8
        if length == 1:
            length, content = int.from_bytes(file.read(8), "big"), at + 16
        last = end if length == 0 else min(at + length, end)
        if last < content:
            continue
        waiting.append((last, end))
        if kind in CONTAINERS:
            waiting.append((content, last))
        yield kind, content, last


def _claimed(file: BinaryIO, kind: bytes, start: int, end: int) -> int:
    """Return the number of samples that the table in a box claims."""
    if kind not in (b"stsz", b"stts", b"ctts", b"trun"):
        return 0
    file.seek(start)
    head = file.read(min(12, end - start)).ljust(12, b"\0")
    if kind == b"stsz":
        return int.from_bytes(head[8:12], "big")
    count = int.from_bytes(head[4:8], "big")
    if kind == b"trun":
        return count
    file.seek(start + 8)
    table = file.read(min(8 * count, end - start - 8, MAX_TABLE_BYTES))
    return int(np.frombuffer(table[: len(table) // 8 * 8], ">u4")[::2].sum(dtype=np.int64))
