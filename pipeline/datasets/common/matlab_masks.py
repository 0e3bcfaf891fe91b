"""Read one array of numbers from a MATLAB file of version 5 to 7.

Damaged files crash the process in SciPy's reader, so this one knows arrays of numbers only. It copies nothing without a
bound. (Format: MathWorks, "MAT-File Format", level 5.)
"""

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from pipeline.video.types import MAX_PIXELS

MAX_BYTES = 2**28  # of all variables of a file, unpacked
MAX_FRAMES = 2**16  # of one sequence; those of JHMDB have 40
MAX_DIMENSIONS, MAX_NAME_BYTES = 32, 255  # of a variable; MATLAB allows names of 63
_HEADER, _TAG = 128, 8  # bytes
_MATRIX, _PACKED = 14, 15  # types of elements
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}  # by type
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_LOGICAL, _COMPLEX = 0x200, 0x800  # flags of an array


def read(content: bytes, name: str) -> np.ndarray:
    """Return the masks [H, W, T] in the variable `name`.

    Raises ValueError if the file is damaged, or if the variable is missing, too large or of another form.
    """
    if content[:10] == b"MATLAB 7.3":
        raise ValueError("the format is MATLAB 7.3, which is HDF5; save it again with '-v7'")
    order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if order is None:
        raise ValueError("not a MATLAB file of version 5 to 7; save it again with '-v7'")
    try:
        found = [matrix for matrix in _matrices(content, order) if matrix[0] == name.encode()]
        others = [] if found else [matrix[0].decode("ascii", "replace") for matrix in _matrices(content, order)]
        if len(found) != 1:
            texts = ", ".join(others[:10]) or "none"
            raise ValueError(
                f"{len(found)} variables {name}" if found else f"the variable {name} is missing, found {texts}"
            )
        return _array(*found[0], order)
    except (struct.error, zlib.error) as error:
        raise ValueError(f"damaged: {error}") from None


def _matrices(content: bytes, order: str) -> Iterator[tuple[bytes, int, tuple[int, ...], memoryview]]:
    """Yield name, flags and class, shape, and the elements with the values, of each array of the file."""
    data, at, total = memoryview(content), _HEADER, 0
    while at < len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        element = data[at : at + _TAG + size]
        at += _TAG + size
        if kind == _PACKED:
            tag = zlib.decompressobj().decompress(element[_TAG:], _TAG)
            kind, size = struct.unpack_from(f"{order}II", tag)
            total += size
            if total > MAX_BYTES:
                raise ValueError(f"its variables have more than {MAX_BYTES} bytes")
            unpacker = zlib.decompressobj()
            element = memoryview(unpacker.decompress(element[_TAG:], _TAG + size))
            if unpacker.decompress(unpacker.unconsumed_tail, 1):
                raise ValueError(f"damaged: a variable has more than the {size} bytes that it states")
        if kind != _MATRIX:
            continue
        inside = element[_TAG : _TAG + size]
        (_, flags), inside = _split(inside, order)
        (_, shape), inside = _split(inside, order)
        (_, name), inside = _split(inside, order)
        if len(shape) > 4 * MAX_DIMENSIONS or len(name) > MAX_NAME_BYTES:
            raise ValueError("damaged: a variable has too many dimensions, or too long a name")
        (flag,) = struct.unpack_from(f"{order}I", flags)
        yield bytes(name), flag, struct.unpack(f"{order}{len(shape) // 4}i", shape[: len(shape) // 4 * 4]), inside


def _split(data: memoryview, order: str) -> tuple[tuple[int, memoryview], memoryview]:
    """Return the type and the bytes of the first element of `data`, and what follows it."""
    kind, size = struct.unpack_from(f"{order}II", data)
    if kind >> 16:  # a small element: its size and at most four bytes are in the tag
        return (kind & 0xFFFF, data[4 : 4 + (kind >> 16)]), data[_TAG:]
    return (kind, data[_TAG : _TAG + size]), data[_TAG + size + -size % 8 :]


def _array(name: bytes, flags: int, shape: tuple[int, ...], data: memoryview, order: str) -> np.ndarray:
    text = name.decode("ascii", "replace")
    kind = flags & 0xFF
    if kind not in _CLASSES or flags & _COMPLEX:
        raise ValueError(f"{text} is not an array of real numbers")
    shape = (*shape, 1) if len(shape) == 2 else shape  # MATLAB drops a last dimension of one
    size = math.prod(shape) * np.dtype(_CLASSES[kind]).itemsize
    if len(shape) != 3 or min(shape) < 1 or shape[0] * shape[1] > MAX_PIXELS or size > MAX_BYTES:
        raise ValueError(f"{text} of shape {shape} is not a sequence of masks")
    if shape[2] > MAX_FRAMES:
        raise ValueError(f"{text} has {shape[2]} frames; at most {MAX_FRAMES} are read")
    (stored, values), _ = _split(data, order)
    if stored not in _STORED:
        raise ValueError(f"damaged: {text} has values of the unknown type {stored}")
    wanted = np.dtype(order + _STORED[stored])
    if len(values) != math.prod(shape) * wanted.itemsize:
        raise ValueError(f"damaged: {text} of shape {shape} has {len(values)} bytes of values")
    numbers = np.frombuffer(values, wanted).reshape(shape, order="F")
    return numbers.astype(bool if flags & _LOGICAL else _CLASSES[kind], copy=False)
