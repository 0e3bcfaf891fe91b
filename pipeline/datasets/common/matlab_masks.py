"""Read one array of a MATLAB file. Only numbers are read, and never more bytes than MAX_BYTES are unpacked."""

import io
import math
import zlib
from collections.abc import Iterator

import numpy as np
import scipy.io

from pipeline.video.types import MAX_PIXELS

MAX_BYTES = 2**28  # of all variables of a file, unpacked
NUMBERS = {"logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "single", "double"}
_PACKED = 15  # type of an element that zlib has packed
_HEADER, _TAG = 128, 8  # bytes


def read(content: bytes, name: str) -> np.ndarray:
    """Return the masks [H, W, T] in the variable `name`.

    Raises ValueError if it is missing, too large or of another form; SciPy raises many kinds for damaged data.
    """
    _check_packed(content)
    try:
        variables = scipy.io.whosmat(io.BytesIO(content))
    except NotImplementedError:
        raise ValueError("the format is MATLAB 7.3, which is HDF5; save it again with '-v7'") from None
    found = [(shape, kind) for variable, shape, kind in variables if variable == name]
    if len(found) != 1:
        others = ", ".join(variable for variable, *_ in variables[:10]) or "none"
        raise ValueError(
            f"{len(found)} variables {name}" if found else f"the variable {name} is missing, found {others}"
        )
    shape, kind = found[0]
    if kind not in NUMBERS:
        raise ValueError(f"{name} is a {kind}, not an array of numbers")
    shape = (*shape, 1) if len(shape) == 2 else shape  # MATLAB drops a last dimension of one
    pixels = math.prod(shape[:2])
    if len(shape) != 3 or min(shape) < 1 or pixels > MAX_PIXELS or pixels * shape[2] > MAX_BYTES:
        raise ValueError(f"{name} of shape {shape} is not a sequence of masks")
    return np.asarray(scipy.io.loadmat(io.BytesIO(content), variable_names=[name])[name]).reshape(shape)


def _check_packed(content: bytes) -> None:
    """Raise ValueError if the packed elements of a file of version 5 have more than MAX_BYTES, without keeping them."""
    if len(content) < _HEADER or content[126:128] not in (b"IM", b"MI") or 0 in content[:4]:
        return
    order = "little" if content[126:128] == b"IM" else "big"
    total = 0
    for kind, element in _elements(content, order):
        unpacker, waiting = zlib.decompressobj(), element
        while kind == _PACKED and waiting and not unpacker.eof:
            total += len(unpacker.decompress(waiting, 2**20))
            waiting = unpacker.unconsumed_tail
            if total > MAX_BYTES:
                raise ValueError(f"its variables have more than {MAX_BYTES} bytes")


def _elements(content: bytes, order: str) -> Iterator[tuple[int, memoryview]]:
    at = _HEADER
    while at + _TAG <= len(content):
        kind, size = (int.from_bytes(content[at + i : at + i + 4], order) for i in (0, 4))  # pyright: ignore[reportArgumentType]
        yield kind, memoryview(content)[at + _TAG : at + _TAG + size]
        at += _TAG + size
