"""Refuse pictures in JPEG 2000 that are cut into far more pieces than any sound one, before OpenJPEG makes them.

OpenJPEG takes some hundred bytes for each block of code and each precinct, and a picture of 300 bytes may claim one for
each of its pixels. (Format: ISO/IEC 15444-1, annex A: markers SIZ, COD and COC, in the main header and in those of
tiles.)
"""

import re
import struct
from collections.abc import Iterator

MAX_BLOCKS = 2**20  # blocks of code, and precincts; 500 bytes of memory each
MAX_LAYERS = 2**8
MAX_PACKETS = 2**24  # of all layers
MAX_HEADERS = 2**16  # of tiles and of their parts
_START = re.compile(rb"\xff\x4f\xff\x51")
_SIZE = struct.Struct(">HHIIIIIIIIH")
_COD, _COC, _SOT, _SOD = b"\xff\x52", b"\xff\x53", b"\xff\x90", b"\xff\x93"


def fault(content: bytes) -> str | None:
    """Return why OpenJPEG should not read a picture, or None. Every beginning of a stream in it is looked at."""
    for number, start in enumerate(_START.finditer(content)):
        if number == MAX_LAYERS:
            return "it holds too many pictures"
        if reason := _stream_fault(content, start.start()):
            return reason
    return None


def _stream_fault(content: bytes, start: int) -> str | None:
    if len(content) < start + 4 + _SIZE.size:
        return None  # cut off, which OpenJPEG finds
    _, _, right, bottom, left, top, wide, high, _, _, components = _SIZE.unpack_from(content, start + 4)
    width, height = max(0, right - left), max(0, bottom - top)
    tiles = -(-width // max(1, wide)) * -(-height // max(1, high))
    for number, (kind, style) in enumerate(_styles(content, start + 2, components)):
        if number == MAX_HEADERS:
            return "it has too many headers"
        layers, levels, least = _cut(kind, style)
        parts = (width * height // 4 ** (levels - at) // size for at, size in enumerate(least))
        blocks = components * (sum(parts) + tiles * len(least))
        if blocks > MAX_BLOCKS or layers > MAX_LAYERS or blocks * layers > MAX_PACKETS:
            return f"it is cut into {blocks} blocks of {layers} layers, far more than its pictures need"
    return None


def _styles(content: bytes, at: int, components: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the markers COD and COC of a stream, of the main header and of tiles, without the number of a component.

    Also yields each part of a tile, as b"", so that they can be counted.
    """
    part_end = 0
    while len(content) >= at + 4:
        kind, length = content[at : at + 2], int.from_bytes(content[at + 2 : at + 4], "big")
        if kind == _SOT:
            size = int.from_bytes(content[at + 6 : at + 10], "big")
            part_end = at + size if size else len(content)
            yield b"", b""
        elif kind in (_COD, _COC):
            skipped = 0 if kind == _COD else 1 if components < 257 else 2
            yield kind, content[at + 4 + skipped : at + 2 + length]
        if kind == _SOD or length < 2:
            if part_end <= at:
                return
            at = part_end
        else:
            at += 2 + length


def _cut(kind: bytes, style: bytes) -> tuple[int, int, list[int]]:
    """Return the layers, the levels, and the least size in pixels of a block of code or precinct of each of these."""
    layers = int.from_bytes(style[2:4], "big") if kind == _COD else 1
    values = style[5 if kind == _COD else 1 :]
    if len(values) < 5 or values[0] > 32:
        return layers, 0, []  # damaged, which OpenJPEG finds
    levels, block = values[0], 2 ** ((values[1] & 15) + (values[2] & 15) + 4)
    sizes = values[5:] if style[0] & 1 else b""
    precincts = [2 ** ((size & 15) + (size >> 4)) for size in sizes[: levels + 1]]
    precincts += [block] * (levels + 1 - len(precincts))
    return layers, levels, [min(block, size) for size in precincts]
