"""Encode each value of a label map as RLE, all in one pass over its pixels, in compiled code."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pipeline.masks.compile_numba import call, compiled, compiled_entry_point

MAX_STRETCHES = 2**23  # of equal pixels, column by column, in one image
_NUMBER_BYTES = 7  # most that one number of an RLE string takes


class ValueMask(NamedTuple):
    """The pixels of one value: their RLE string, and their number."""

    counts: bytes
    pixels: int


def encode_values(image: np.ndarray) -> dict[int, ValueMask]:
    """Return the mask of each value above 0, ascending. The strings equal `schemas.rle.encode(image == value)`.

    image: bool, uint8 or uint16 [H, W]. Raises ValueError for one that is noise, which would take memory without bound.
    """
    pixels = np.ascontiguousarray(image.T).reshape(-1)
    starts = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    if len(starts) > MAX_STRETCHES:
        raise ValueError(f"{len(starts)} stretches of equal pixels: noise, not objects")
    starts = np.concatenate([[0], starts, [len(pixels)]])
    values = pixels[starts[:-1]].astype(np.int64)
    counted, pixels_of = np.bincount(values), np.bincount(values, np.diff(starts))
    labels = np.flatnonzero(counted[1:]) + 1
    data = np.empty((2 * int(counted[1:].sum()) + len(labels)) * _NUMBER_BYTES, np.uint8)
    ends = np.zeros(len(labels), np.int64)
    by_value = np.argsort(values, kind="stable")
    firsts = np.searchsorted(values[by_value], np.append(labels, labels[-1:] + 1))
    call(write_strings, starts, by_value, firsts, data, ends)
    bounds = pairwise([0, *ends.tolist()])
    return {
        label: ValueMask(data[start:stop].tobytes(), int(pixels_of[label]))
        for label, (start, stop) in zip(labels.tolist(), bounds, strict=True)
    }


@compiled_entry_point
def write_strings(starts, by_value, firsts, data, ends):
    """Write the strings of all values one after the other.

    Stretch i has the pixels from starts[i] to starts[i + 1]; by_value[firsts[k]] to [firsts[k + 1] - 1] are of value k.
    """
    at = 0
    for k in range(ends.size):
        end = background = foreground = drawn = np.int64(0)  # end of the last foreground, the runs before, their number
        for j in range(firsts[k], firsts[k + 1]):
            i = by_value[j]
            gap, length = starts[i] - end, starts[i + 1] - starts[i]
            at = _write(gap - background if drawn > 1 else gap, data, at)
            at = _write(length - foreground if drawn > 0 else length, data, at)
            end, background, foreground = starts[i + 1], gap, length
            drawn += 1
        if end < starts[-1]:
            gap = starts[-1] - end
            at = _write(gap - background if drawn > 1 else gap, data, at)
        ends[k] = at


@compiled
def _write(number, data, at):
    """Write one number in groups of 5 bits, as `schemas.rle` describes."""
    more = True
    while more:
        group = number & 31
        number >>= 5
        more = number != (-1 if group & 16 else 0)
        data[at] = (group | 32 if more else group) + 48
        at += 1
    return at
