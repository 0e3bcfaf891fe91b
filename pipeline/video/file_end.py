"""Detect files that are cut off where FFmpeg does not notice: between two frames, without a firm index.

Each form tells its length in another way: Matroska (EBML, RFC 8794), RIFF (AVI) and fragmented MP4 (ISO 14496-12) by
the lengths of their outermost parts, MXF (SMPTE 377) by the place of its footer, ASF by a size in its header, Ogg (RFC
3533), FLV and MPEG-PS by their last part, MPEG-TS and YUV4MPEG by parts of one size, and GIF by an end mark.
"""

import os
import re
from collections.abc import Callable
from typing import BinaryIO

from pipeline.video import file_parts, transport_stream

_TAIL = 65_536 + 307  # bytes; longer than any Ogg page and any packet of MPEG-PS
_HOLE = 4096  # bytes; streams without a container may have some zeros at their end
_MAY_HAVE_A_HOLE = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF, where FFmpeg passes over damage
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_PS_PACKET = re.compile(b"\0\0\x01[\xbd\xc0-\xef]..", re.DOTALL)
_CHROMA = {"420": (2, 2), "422": (2, 1), "444": (1, 1)}  # luma pixels for one of chroma, across and down


def cut_off(file: BinaryIO) -> str | None:
    """Return how the file is cut off, None if it is complete, does not tell, or has another form."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(4096)
    if start.startswith(_MAY_HAVE_A_HOLE) or not any(start[at : at + len(mark)] == mark for at, mark, _ in _FORMS):
        file.seek(max(0, size - _HOLE))
        if size > _HOLE and not file.read().strip(b"\0"):
            return f"its last {_HOLE} bytes are zeros, as of a download that did not finish"
    end_of = next((end for at, mark, end in _FORMS if start[at : at + len(mark)] == mark), _ts_end)
    try:
        missing = end_of(file_parts.CountedParts(file), start, size) - size
    except file_parts.TooManyPartsError as error:
        return str(error)
    return f"{missing} bytes are missing" if missing > 0 else None


def _ebml_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """A header element and a segment element: an id, a length whose leading zeros tell its own size, and content.

    A length of all ones means unknown (live recordings).
    """
    file.seek(4)
    if (header := file_parts.ebml_length(file)) is None:
        return 0
    file.seek(header, os.SEEK_CUR)
    if file.read(4) != b"\x18S\x80g" or (segment := file_parts.ebml_length(file)) is None:
        return 0
    return file.tell() + segment


def _riff_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """Large AVI files have several RIFF parts. A length of 0 or all ones was never filled in (live recordings)."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        kind, length = file.read(4), int.from_bytes(file.read(4), "little")
        if kind != b"RIFF" or length in (0, 2**32 - 1):
            break
        end += 8 + length
    return end


def _mp4_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """Boxes of a length and a kind; 1 means that a length of 64 bits follows, 0 that the box lasts to the end."""
    end = 0
    while end + 8 <= size:
        file.seek(end)
        length = int.from_bytes(file.read(4), "big")
        if length == 1:
            file.seek(end + 8)
            length = int.from_bytes(file.read(8), "big")
        if length < 8:
            return 0
        end += length
    return end


def _ogg_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """A page has a header of 27 bytes, the number of its segments last; their lengths; and the segments."""
    file.seek(max(0, size - _TAIL))
    tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0:
        return 0
    count = tail[at + 26] if len(tail) > at + 26 else 0
    return size - len(tail) + at + 27 + count + sum(tail[at + 27 : at + 27 + count])


def _flv_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """Tags of a kind, a length of 24 bits, 7 more bytes and content; each is followed by its size, of 32 bits."""
    file.seek(max(0, size - 4))
    last = int.from_bytes(file.read(4), "big")
    file.seek(max(0, size - 4 - last))
    length = int.from_bytes(file.read(4)[1:], "big")
    return size if last == 11 + length or last == 0 else size + 1  # 1: how many are missing is not known


def _mxf_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """The first partition pack, after its key and length, holds 24 bytes and the place of the footer, 0 if unknown."""
    at = 17 + (start[16] & 0x7F if start[16] & 0x80 else 0) + 24
    footer = int.from_bytes(start[at : at + 8], "big")
    return footer + 17 if footer else 0


def _asf_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """The file properties: an id, a length of 64 bits, another id, and the size of the file, 0 if it is not known."""
    at = start.find(_ASF_PROPERTIES)
    return int.from_bytes(start[at + 40 : at + 48], "little") if at >= 0 else 0


def _ps_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """Packets with a length of 16 bits, 0 if it is not known."""
    first = file.seek(max(0, size - _TAIL))
    packets = list(_PS_PACKET.finditer(file.read()))
    last = packets[-1] if packets else None
    length = int.from_bytes(last.group()[4:], "big") if last else 0
    return first + last.end() + length if last and length else 0


def _ts_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    for length, sync in transport_stream.SIZES.items():
        if len(start) > sync + 3 * length and all(start[sync + n * length] == 0x47 for n in range(4)):
            return -(-size // length) * length
    return 0


def _y4m_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """A line of parameters, then frames of a line FRAME and all pixels."""
    line, _, rest = start.partition(b"\n")
    values = {word[:1]: word[1:] for word in line.decode("ascii", "replace").split()[1:]}
    form = values.get("C", "420").removesuffix("jpeg").removesuffix("mpeg2").removesuffix("paldv")
    if not rest.startswith(b"FRAME\n") or form not in _CHROMA:
        return 0
    (across, down), width, height = _CHROMA[form[:3]], int(values["W"]), int(values["H"])
    frame = 6 + width * height + 2 * (-(-width // across) * -(-height // down))
    count = -(-(size - len(line) - 1) // frame)
    return len(line) + 1 + count * frame


def _gif_end(file: file_parts.Readable, start: bytes, size: int) -> int:
    """Blocks until the end mark 0x3B: extensions (0x21) and images (0x2C), both with chains of sub-blocks."""
    file.seek(13 + file_parts.gif_colours(start.ljust(11, b"\0")[10]))
    while (kind := file.read(1)) in (b"\x21", b"\x2c"):
        file_parts.skip_gif_block(file, kind)
    return size if kind else file.tell() + 1


_FORMS: tuple[tuple[int, bytes, Callable[[file_parts.Readable, bytes, int], int]], ...] = (
    (0, b"\x1aE\xdf\xa3", _ebml_end),
    (0, b"RIFF", _riff_end),
    (4, b"ftyp", _mp4_end),
    (0, b"OggS", _ogg_end),
    (0, b"FLV", _flv_end),
    (0, b"\x06\x0e+4\x02\x05\x01\x01\r\x01\x02\x01\x01\x02", _mxf_end),
    (0, b"YUV4MPEG2 ", _y4m_end),
    (0, b"GIF8", _gif_end),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _asf_end),
    (0, b"\0\0\x01\xba", _ps_end),
)
