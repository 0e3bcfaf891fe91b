"""Refuse MP4 and MOV files whose index claims far more samples than the file could hold, before FFmpeg reads it.

FFmpeg makes an entry of tens of bytes for each sample of each track, and again for each edit that shows it. Some tables
state their number without a byte for each. FFmpeg finds tables in boxes of many kinds, at any depth, and so does this
module: every box but `mdat` may have boxes in it. (Format: ISO/IEC 14496-12, boxes `stsz`, `stts`, `ctts`, `trun`,
`stsc`, `stco` and `elst`; `cmvd` of QuickTime holds a packed `moov`; ISO/IEC 23008-12, `iprp`.)
"""

import io
import os
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np

LEAST_SAMPLES = 2**18  # of all tracks, whatever the size of the file
MAX_BOXES = 2**21  # those of fragments of a second each, for three days
MAX_TABLE_BYTES = 2**26
MAX_SEARCHED_BYTES = 2**20  # of boxes whose content has another form than a list of boxes
MAX_PACKED = 2  # packed indexes, one within the other
EDITED = 16  # times that edits may show the samples of a track
PACKED_SOUND = 256  # samples of sound in a byte; FFmpeg makes an entry for 160 or more of them
OUTERMOST = (b"mdat", b"trak")  # FFmpeg takes one that leaves its box for one of the outermost boxes
PROPERTIES = (b"iprp", b"ipco")  # of pictures; FFmpeg reads one again for each item that has it
TABLES = (b"stsz", b"stz2", b"stts", b"ctts", b"trun")
_HEADER = struct.Struct(">I4s")
_KIND = re.compile(rb"[\x20-\x7e\xa9][\x20-\x7e]{3}")
_INDEX = re.compile(rb"(?=stsz|stz2|stts|ctts|trun|stsc|stco|co64|elst|trak|iprp|ipco|cmvd)")


class _Box(NamedTuple):
    kind: bytes
    at: int
    start: int  # of the content
    end: int


def fault(file: BinaryIO, most_boxes: int | None = None) -> str | None:
    """Return why FFmpeg should not read the index of an MP4 file: it would take too much memory. Else None.

    A sample has one byte at least, in a file of LEAST_SAMPLES and more. most_boxes: other than MAX_BOXES.
    """
    return _Claims(max(file.seek(0, os.SEEK_END), LEAST_SAMPLES), most_boxes or MAX_BOXES).fault(file)


def count_movies(file: BinaryIO) -> int:
    """Return the number of indexes (`moov`) at the top of an MP4 file; FFmpeg shows the first movie only."""
    at, count, size = 0, 0, file.seek(0, os.SEEK_END)
    for _ in range(MAX_BOXES):
        if (box := _box(file, at, size, size)) is None:
            break
        count += box.kind == b"moov"
        at = box.end
    return count


class _Claims:
    """Samples, edits and chunks that tables claim: of all tracks so far, and of the latest track."""

    def __init__(self, limit: int, most_boxes: int):
        self._limit, self._most_boxes = limit, most_boxes
        self._boxes = self._properties_end = 0
        self._samples: Counter[bytes] = Counter()  # by kind of table
        self._begin_track()

    def _begin_track(self) -> None:
        self._edits = self._chunks = self._chunk_samples = self._track_samples = 0

    def fault(self, file: BinaryIO, packed: int = 0) -> str | None:
        """Count the claims of a file, or of the packed index of one."""
        for box in _boxes(file, file.seek(0, os.SEEK_END)):
            self._boxes += 1
            if self._boxes > self._most_boxes:
                return f"its index has more than {self._most_boxes} boxes"
            if box.kind == b"cmvd":
                content = _unpacked(file, box)
                if content is None or packed == MAX_PACKED or self.fault(io.BytesIO(content), packed + 1):
                    return "its packed index is damaged, or claims too much"
            if reason := self._add(file, box):
                return reason
        return None

    def _add(self, file: BinaryIO, box: _Box) -> str | None:
        """Count the claims of a box. Returns why they are too many, or None."""
        if box.kind in (b"stsd", b"meta") and box.end - box.start > MAX_SEARCHED_BYTES:
            if box.kind == b"stsd" or not _contents(file, box):
                return f"its box {box.kind.decode()} has {box.end - box.start} bytes"
        elif box.kind in PROPERTIES:
            self._properties_end = max(self._properties_end, box.end)
        elif box.kind == b"trak":
            self._begin_track()
        elif box.kind in TABLES:
            if box.at < self._properties_end:
                return "properties of its pictures have tables of samples"
            claimed = _claimed(file, box)
            self._samples[box.kind] += claimed
            self._track_samples += claimed
        elif box.kind == b"elst":
            self._edits += _count(file, box)
        elif box.kind in (b"stco", b"co64"):
            self._chunks += min(_count(file, box), (box.end - box.start) // 4)
        elif box.kind == b"stsc":
            of_chunks = _numbers(file, box, _count(file, box), 3)[:, 1]
            self._chunk_samples = max(self._chunk_samples, int(of_chunks.max(initial=0)))
        return self._excess()

    def _excess(self) -> str | None:
        most = max(self._samples.values(), default=0)
        if most > self._limit:
            return f"its index claims {most} samples, too many for its size"
        if self._edits * self._track_samples > EDITED * self._limit:
            return f"a track with {self._track_samples} samples has {self._edits} edits, too many for its size"
        if (sound := self._chunks * self._chunk_samples) > PACKED_SOUND * self._limit:
            return f"the chunks of a track claim {sound} samples, too many for its size"
        return None


def _boxes(file: BinaryIO, size: int) -> Iterator[_Box]:
    """Yield each box of the file, and those within it: a box before those in it, and these before the next one."""
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
        yield box
        box = box._replace(end=min(box.end, end))
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
    """Return the places in a box where boxes may begin: at its start, or behind a version or a count."""
    if box.kind not in (b"meta", b"stsd"):
        return [box.start + 8, box.start + 4, box.start]
    file.seek(box.start)
    content = file.read(min(box.end - box.start, MAX_SEARCHED_BYTES))
    if box.kind == b"meta":  # FFmpeg looks for `hdlr` at every fourth byte
        steps = (found.start() for found in re.finditer(rb"(?=hdlr)", content))
        return [box.start + at - 4 for at in steps if at % 4 == 0 and at >= 4][:1]
    return [box.start + found.start() - 4 for found in _INDEX.finditer(content) if found.start() >= 4]


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
    """Return the number of samples that a table of TABLES claims."""
    if box.kind in (b"stsz", b"stz2"):
        file.seek(box.start + 8)
        return int.from_bytes(file.read(4), "big")
    count = _count(file, box)
    return count if box.kind == b"trun" else int(_numbers(file, box, count, 2)[:, 0].sum(dtype=np.int64))


def _count(file: BinaryIO, box: _Box) -> int:
    """Return the number of entries that a table states, behind its version."""
    file.seek(box.start + 4)
    return int.from_bytes(file.read(4), "big")


def _numbers(file: BinaryIO, box: _Box, count: int, columns: int) -> np.ndarray:
    """Return the rows of a table that are in the file, as uint32 [N, columns]."""
    width = 4 * columns
    file.seek(box.start + 8)
    table = file.read(min(width * count, max(0, box.end - box.start - 8), MAX_TABLE_BYTES))
    return np.frombuffer(table[: len(table) // width * width], ">u4").reshape(-1, columns)
