"""Refuse pictures that have far more parts than any sound one, before Pillow takes time and memory for them.

Parts are what a form is made of: chunks, markers, boxes, pages, scans. An empty one takes a few bytes of the file, but
microseconds, and sometimes a hundred bytes of memory. Pillow reads most forms part by part, so that its reads are
counted; the libraries that it gives a whole file are not, and the parts of their forms are counted before.
"""

import io
import re
from typing import BinaryIO

from pipeline.video import jpeg2000, mp4_index

MAX_BYTES = 2**28  # of a picture file
MAX_READS = 2**20  # of one image of a file: a second
MAX_PARTS = 2**17  # chunks of WebP, markers of JPEG, boxes of AVIF
MAX_SCANS = 100  # of a JPEG; each may go through all its pixels. Programs write about ten
MAX_DIGITS_BYTES = 2**26  # of a pixmap in digits, which Pillow reads in Python
MAX_PAGES = 2**14  # of TIFF; Pillow compares each with those before it
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # of JPEG, but for those within its data
_END, _SCAN = b"\xd9", b"\xda"
_ALONE = (b"\x01", b"\xd8")  # markers without content


class PartsError(Exception):
    """A picture has too many parts."""


class PictureFile:
    """A file for Pillow that refuses to be read in too many pieces: raises PartsError.

    Set `reads` to 0 before each image of an animation.
    """

    def __init__(self, file: BinaryIO):
        self._file, self.tell, self.seek = file, file.tell, file.seek
        self.reads = 0

    def read(self, size: int = -1) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise PartsError("it has too many parts")
        content = self._file.read(MAX_BYTES + 1 if size < 0 else size)
        if len(content) > MAX_BYTES:
            raise PartsError(f"it has more than {MAX_BYTES} bytes")
        return content

    def close(self) -> None:
        """Leave the file open: another may use it."""


def bounded(file: BinaryIO) -> PictureFile:
    """Return a picture file for Pillow, from its beginning on. Raises PartsError if it has too many parts."""
    file.seek(0)
    start = file.read(12)
    reason = None
    if start.startswith(b"\xff\xd8"):
        reason = _jpeg_fault(_whole(file))
    elif start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        reason = _tiff_fault(file, start)
    elif start[:4] == b"RIFF" and start[8:] == b"WEBP":
        reason = _webp_fault(_whole(file))
    elif start[4:8] in (b"jP  ", b"ftyp") or start.startswith(b"\xff\x4f"):
        content = _whole(file)
        is_avif = start[4:8] == b"ftyp"
        reason = mp4_index.fault(io.BytesIO(content), MAX_PARTS) if is_avif else jpeg2000.fault(content)
    elif start[:2] in (b"P1", b"P2", b"P3") and len(_whole(file)) > MAX_DIGITS_BYTES:
        reason = f"it is written in digits, of more than {MAX_DIGITS_BYTES} bytes"
    if reason is not None:
        raise PartsError(reason)
    file.seek(0)
    return PictureFile(file)


def _whole(file: BinaryIO) -> bytes:
    file.seek(0)
    return PictureFile(file).read()


def _jpeg_fault(content: bytes) -> str | None:
    at, count, scans = 2, 0, 0
    while (found := _MARKER.search(content, at)) and found[1] != _END:
        count, scans = count + 1, scans + (found[1] == _SCAN)
        if count > MAX_PARTS:
            return f"it has more than {MAX_PARTS} markers"
        if scans > MAX_SCANS:
            return f"it has more than {MAX_SCANS} scans"
        at = found.end()
        if found[1] not in _ALONE:
            at += int.from_bytes(content[at : at + 2], "big")
    return None


def _webp_fault(content: bytes) -> str | None:
    at, count = 12, 0
    while len(content) >= at + 8:
        count += 1
        if count > MAX_PARTS:
            return f"it has more than {MAX_PARTS} chunks"
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        at += 24 if kind == b"ANMF" else 8 + size + size % 2  # a frame has chunks after its place and size
    return None


def _tiff_fault(file: BinaryIO, start: bytes) -> str | None:
    order = "little" if start.startswith(b"II") else "big"
    is_big = b"+" in start[:4]
    count_bytes, tag_bytes, place_bytes = (8, 20, 8) if is_big else (2, 12, 4)

    def number(at: int, size: int) -> int:
        file.seek(at)
        return int.from_bytes(file.read(size), order)

    page, seen = number(8 if is_big else 4, place_bytes), set()
    while page and page not in seen and page < 2**62:
        seen.add(page)
        if len(seen) > MAX_PAGES:
            return f"it has more than {MAX_PAGES} pages"
        tags = number(page, count_bytes)
        page = number(page + count_bytes + tag_bytes * tags, place_bytes) if tags < MAX_BYTES else 0
    return None
