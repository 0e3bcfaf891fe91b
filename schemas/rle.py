"""Encode and decode COCO compressed RLE, the form in which every mask is stored.

A mask is read column by column, its pixels grouped in runs that alternate between background and foreground, the first
one background. Each number is written in groups of 5 bits, lowest first, one byte of 48..111 each: bit 5 says that
more follows, bit 4 of the last byte is the sign. From the fourth run on, the number is the difference to the run two
before. (Format: `maskApi.c` of the COCO API.) Strings are checked in full before anything is allocated for the mask,
since pycocotools may hang, crash or return uninitialised memory for broken ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

MAX_SIDE = 16_384  # pixels; a longer frame side counts as a broken size
_MAX_GROUPS = 7  # of 5 bits: enough for any run in a frame of MAX_SIDE x MAX_SIDE


class RleError(ValueError):
    """A string is not the RLE of a mask of the given size; the text gives the reason."""


def encode(masks: np.ndarray) -> list[bytes]:
    """Return one string for each mask of `masks`, bool or uint8 [T, H, W] (non-zero is foreground).

    Masks are not copied if they are bool and contiguous in memory as (T, W, H).
    """
    if masks.ndim != 3 or masks.dtype not in (np.bool_, np.uint8):
        raise ValueError(f"masks must be bool or uint8 [T, H, W], got {masks.dtype} {list(masks.shape)}")
    if 0 in masks.shape:
        raise ValueError(f"masks of shape {list(masks.shape)} have no pixel to encode")
    columns = np.asfortranarray(masks.astype(bool, copy=False).view(np.uint8).transpose(1, 2, 0))
    encoded: Any = coco.encode(columns)
    return [mask["counts"] for mask in encoded]


def decode(counts: bytes, height: int, width: int) -> np.ndarray:
    """Return the mask, bool [H, W], in column order. Raises RleError as `check`."""
    runs = run_lengths(counts, height, width)
    foreground = np.arange(len(runs)) % 2 == 1
    return np.repeat(foreground, runs).reshape(width, height).T


def empty(height: int, width: int) -> bytes:
    """Return the string of a mask without foreground."""
    _check_size(height, width)
    value, groups = height * width, bytearray()
    while value > 15:  # the last group holds 4 bits and a sign of 0
        groups.append((value & 31 | 32) + 48)
        value >>= 5
    groups.append(value + 48)
    return bytes(groups)


def whole(number: object) -> int | None:
    """Return a whole number of JSON, which some programs write as 60.0; None for anything else."""
    if isinstance(number, float) and number.is_integer():
        return int(number)
    return number if type(number) is int else None


def from_runs(runs: Sequence[object], height: int, width: int) -> bytes:
    """Return the string of a mask from its runs, background first (COCO's uncompressed form). Raises RleError."""
    _check_size(height, width)
    counted = [run for run in map(whole, runs) if run is not None and 0 <= run <= height * width]
    if len(counted) < len(runs):
        raise RleError("the runs must be whole numbers, at most the pixels of the frame")
    if sum(counted) != height * width:
        raise RleError(f"runs total {sum(counted)}, frame of {height}x{width} has {height * width} pixels")
    uncompressed: Any = {"size": [height, width], "counts": counted}
    encoded: Any = coco.frPyObjects(uncompressed, height, width)
    return encoded["counts"]


def check(counts: bytes, height: int, width: int) -> None:
    """Raise RleError unless `counts` describes each pixel of a `height` x `width` frame once."""
    run_lengths(counts, height, width)


def run_lengths(counts: bytes, height: int, width: int) -> np.ndarray:
    """Return the runs of a string, int64, background first. Raises RleError as `check`."""
    _check_size(height, width)
    groups = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(groups):
        raise RleError("the string is empty")
    if groups.min() < 0 or groups.max() > 63:
        at = int(np.argmax((groups < 0) | (groups > 63)))
        is_text_of_bytes = counts[:2] in (b"b'", b'b"')
        hint = "; it is the text of Python bytes (b'...'): write counts.decode() in place of str(counts)"
        raise RleError(f"byte {counts[at]} at position {at} is outside 48..111{hint if is_text_of_bytes else ''}")
    ends = np.flatnonzero(groups < 32)
    if not len(ends) or ends[-1] != len(groups) - 1:
        raise RleError("the last byte requires another one: the string is truncated")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _MAX_GROUPS:
        raise RleError(f"a number of {lengths.max()} bytes is larger than any frame")
    position = np.arange(len(groups)) - np.repeat(starts, lengths)
    values = np.add.reduceat((groups & 31) << (5 * position), starts)
    numbers = np.where(groups[ends] & 16, values - (1 << 5 * lengths), values)
    runs = numbers.copy()
    for start in (1, 2):  # from the fourth on, a number is the difference to the run two before
        np.cumsum(numbers[start::2], out=runs[start::2])
    if runs.min() < 0:
        raise RleError(f"run {int(np.argmax(runs < 0))} is negative")
    total = int(runs.sum())
    if total != height * width:
        raise RleError(f"runs total {total}, frame of {height}x{width} has {height * width} pixels")
    return runs


def _check_size(height: int, width: int) -> None:
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise RleError(f"frame size {height}x{width} is outside 1x1 to {MAX_SIDE}x{MAX_SIDE}")
