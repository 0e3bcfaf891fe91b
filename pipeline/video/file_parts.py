"""Find damage between the frames of a file: where its parts do not follow each other, and FFmpeg drops what is there.

Each part states its length, and the next one begins where it ends: elements of Matroska (EBML, RFC 8794), tags of FLV,
pages of Ogg (RFC 3533), chunks of RIFF (AVI), boxes of MP4 (ISO 14496-12), triplets of MXF (SMPTE 377), packs and
packets of MPEG-PS (ISO 13818-1), blocks of GIF, frames of IVF.
"""

import os
import re
import zlib
from collections.abc import Callable
from typing import BinaryIO, Protocol

_EBML_FOLDERS = (b"\x18S\x80g", b"\x1fC\xb6u")  # segment, cluster
_EBML_BLOCKS = (b"\xa0", b"\xa1", b"\xa3")  # group of a block, block, simple block; their content begins as parts do
_FLV_TAGS = (8, 9, 15, 18)  # sound, video, two forms of data
_MP4_FOLDERS = (b"moof", b"traf")
_NAME = re.compile(rb"[\x20-\x7e\xa9][\x20-\x7e]{3}")
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
MAX_PARTS = 2**24  # of a file: frames and sound of two days; more of some bytes each would take minutes
_SECTOR = 2048  # bytes; MPEG-PS may be filled with zeros up to the next one


class Readable(Protocol):
    """A file that can be read from any place."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int: ...


class TooManyPartsError(Exception):
    """A file has more than MAX_PARTS parts."""

    def __str__(self) -> str:
        return f"it has more than {MAX_PARTS} parts"


class CountedParts:
    """A file that is read part by part, one `seek` for each. Raises TooManyPartsError after MAX_PARTS of them."""

    def __init__(self, file: Readable):
        self.read, self.tell, self._seek = file.read, file.tell, file.seek
        self._left = MAX_PARTS

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._left -= 1
        if self._left < 0:
            raise TooManyPartsError
        return self._seek(offset, whence)


def damage(file: BinaryIO) -> str | None:
    """Return where parts of the file do not follow each other; None if they do, or if it has another form."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(16)
    find = next((find for at, mark, find in _FORMS if start[at : at + len(mark)] == mark), None)
    try:
        place = find(CountedParts(file), size) if find is not None else None
    except TooManyPartsError as error:
        return str(error)
    return None if place is None else f"the file is damaged at byte {place} of {size}"


def _matroska(file: Readable, size: int) -> int | None:
    """Elements begin with an id and a length, and blocks with the number of a track; none begins with a zero byte."""
    at = 0
    while at < size:
        file.seek(at)
        kind = _ebml_id(file)
        length = ebml_length(file) if kind is not None else None
        start = file.tell()
        if kind in _EBML_FOLDERS:  # their parts follow; length None: not known
            at = start
        elif length is None or start + length > size or (kind in _EBML_BLOCKS and file.read(1) == b"\0"):
            return at
        else:
            at = start + length
    return None


def _ebml_id(file: Readable) -> bytes | None:
    first = file.read(1)
    return first + file.read(8 - first[0].bit_length()) if first and first[0] & 0xF0 else None


def ebml_length(file: Readable) -> int | None:
    """Read a length: the leading zeros of its first byte tell its own size. All ones mean unknown (live recordings)."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    size = 9 - first[0].bit_length()
    bits = 7 * size
    value = int.from_bytes(first + file.read(size - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value


def _flv(file: Readable, size: int) -> int | None:
    """Tags of a kind, a length of 24 bits, 7 more bytes and content; each is followed by its size, of 32 bits."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    while at < size:
        file.seek(at)
        head = file.read(11)
        end = at + 11 + int.from_bytes(head[1:4], "big")
        if head[0] & 0x1F not in _FLV_TAGS or end > size:
            return at
        at = end + 4
    return None


def _ogg(file: Readable, size: int) -> int | None:
    """Pages of a header of 27 bytes, the lengths of their segments, and these; each stream counts its pages.

    FFmpeg drops a page whose checksum is wrong.
    """
    numbers: dict[bytes, int] = {}
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(27)
        if len(head) < 27 or head[:4] != b"OggS":
            return at
        stream, number = head[14:18], int.from_bytes(head[18:22], "little")
        if not head[5] & 2 and number != numbers.get(stream, number - 1) + 1:  # 2: the first page of its stream
            return at
        numbers[stream] = number
        lengths = file.read(head[26])
        content = file.read(sum(lengths))
        if _ogg_checksum(head[:22] + bytes(4) + head[26:] + lengths + content) != head[22:26]:
            return at
        at += 27 + len(lengths) + len(content)
    return None


def _ogg_checksum(page: bytes) -> bytes:
    """Return the CRC-32 of Ogg: that of zlib in another order of bits, and without its inversions."""
    reverse = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return reverse.to_bytes(4, "big").translate(_REVERSED)


def _riff(file: Readable, size: int) -> int | None:
    """Chunks of a name, a length and content of even size, which some writers do not fill up. Lists have chunks."""
    at = 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(12)
        name, length = head[:4], int.from_bytes(head[4:8], "little")
        if name == b"RIFF" or (name == b"LIST" and head[8:] in (b"movi", b"rec ")):
            at += 12
            continue
        end = at + 8 + length
        if not _NAME.fullmatch(name) or end > size:
            return at
        file.seek(end)
        following = file.read(5)
        at = end + length % 2 if _NAME.fullmatch(following[length % 2 :][:4]) else end
    return None


def _mp4(file: Readable, size: int) -> int | None:
    """Boxes of a length and a name; 1 means that a length of 64 bits follows, 0 that the box lasts to the end."""
    at, ends = 0, [size]  # ends of the boxes around
    while ends:
        if at == ends[-1]:
            ends.pop()
            continue
        file.seek(at)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:], "big")
        elif length == 0 and len(ends) == 1:
            length = size - at
        if length < 8 or at + length > ends[-1] or not _NAME.fullmatch(name):
            return at
        if name in _MP4_FOLDERS:
            ends.append(at + length)
            at += 8
        else:
            at += length
    return None


def _mxf(file: Readable, size: int) -> int | None:
    """Keys of 16 bytes, lengths of one byte or, above 0x80, of as many bytes as it states more, and values."""
    at = 0
    while at < size:
        file.seek(at)
        key, length = file.read(16), file.read(1)
        if key[:4] != b"\x06\x0e+4" or not length:
            return at
        more = length[0] & 0x7F if length[0] & 0x80 else 0
        at += 17 + more + (int.from_bytes(file.read(more), "big") if more else length[0])
        if at > size:
            return size
    return None


def _mpeg_ps(file: Readable, size: int) -> int | None:
    """Packs of 12 bytes (MPEG-1), or of 14 and stuffing, and packets of a length of 16 bits; zeros up to a sector."""
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(_SECTOR)
        if not head.startswith(b"\0\0\x01"):
            zeros = len(head) - len(head.lstrip(b"\0"))
            rest = head[zeros:]
            if zeros < 2 or not rest.startswith(b"\x01"):
                return None if not rest and _only_zeros_follow(file) else at
            at += zeros - 2
            continue
        head = head.ljust(14, b"\0")
        kind = head[3]
        if kind == 0xBA:
            at += 14 + (head[13] & 7) if head[4] & 0xC0 == 0x40 else 12
        elif kind == 0xB9:
            at += 4
        elif kind > 0xB9:
            at += 6 + int.from_bytes(head[4:6], "big")
        else:
            return at
    return None


def _only_zeros_follow(file: Readable) -> bool:
    while block := file.read(2**20):
        if block.strip(b"\0"):
            return False
    return True


def _gif(file: Readable, size: int) -> int | None:
    """Blocks up to the end mark 0x3B: extensions (0x21) and images (0x2C), both with chains of sub-blocks."""
    file.seek(10)
    flags = file.read(3)[0]
    file.seek(13 + gif_colours(flags))
    while (kind := file.read(1)) in (b"\x21", b"\x2c"):
        skip_gif_block(file, kind)
    return None if kind in (b"\x3b", b"") else file.tell() - 1


def skip_gif_block(file: Readable, kind: bytes) -> None:
    """Skip an extension or an image, after its kind."""
    if kind == b"\x21":
        file.seek(1, os.SEEK_CUR)
    else:
        head = file.read(9).ljust(9, b"\0")
        file.seek(gif_colours(head[8]) + 1, os.SEEK_CUR)
    while (length := file.read(1)) and length[0]:
        file.seek(length[0], os.SEEK_CUR)


def gif_colours(flags: int) -> int:
    """Return the bytes of the colour table that the flags of a GIF announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _ivf(file: Readable, size: int) -> int | None:
    """A header of 32 bytes, then frames of a length of 32 bits and a time of 64."""
    at = 32
    while at < size:
        file.seek(at)
        length = int.from_bytes(file.read(4), "little")
        if not length or at + 12 + length > size:
            return at
        at += 12 + length
    return None


_FORMS: tuple[tuple[int, bytes, Callable[[Readable, int], int | None]], ...] = (
    (0, b"\x1aE\xdf\xa3", _matroska),
    (0, b"FLV", _flv),
    (0, b"OggS", _ogg),
    (0, b"RIFF", _riff),
    (4, b"ftyp", _mp4),
    (0, b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01\x01\x02", _mxf),
    (0, b"\0\0\x01\xba", _mpeg_ps),
    (0, b"GIF8", _gif),
    (0, b"DKIF", _ivf),
)
