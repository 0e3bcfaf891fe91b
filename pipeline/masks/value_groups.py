"""Find the object in gray masks that are not crisp: the bright one of two groups of values.

A lossy codec leaves noise around both values, other tools write the background as a gray above 0, and soft edges have
the values in between.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

VOID_ID = 255
MOST_SMALL_IDS = 20  # highest value that is taken for an object's id among masks of one object
FULL_8_BIT, FULL_16_BIT = 255, 65535
_MARGIN = 16  # as many parts of the full scale does noise at its ends take
_WIDEST = 3  # times the second widest gap, and part of the range, that the gap between two groups has
_BANDS, _EDGE_BANDS = 16, 2  # of values between dark and bright; those at both ends belong to these
_PEAK, _LEAST_PEAK = 3, 1 / 8  # times the mean of the bands, and the bright pixels, that a third group has
_MANY = 20  # values; fewer ones are colours of several objects rather than noise


class ObjectCut(NamedTuple):
    """The least value of the object, and what was found, in words."""

    least: int
    text: str


def full_scale(top: int) -> int:
    """Return the highest value that masks have whose values reach `top`."""
    return FULL_8_BIT if top <= FULL_8_BIT else FULL_16_BIT


def half_of(top: int) -> int:
    """Return the least value that counts as foreground in soft masks whose values reach `top`."""
    return full_scale(top) // 2 + 1


def are_ids_and_void(pixels: Mapping[int, int]) -> bool:
    """Return True for the values 1, 2, ... and 255: ids and void, or noise and an object."""
    above = sorted(value for value in pixels if value)
    return len(above) > 1 and above[-1] == VOID_ID and above[:-1] == [*range(1, min(len(above), MOST_SMALL_IDS + 1))]


def object_cut(pixels: Mapping[int, int], flat: Mapping[int, int]) -> ObjectCut | None:
    """Return where the object begins in gray masks of one object; None if the values do not tell.

    pixels: their number by value, 0 included; two values or more. flat: those of them that are not on an edge.
    """
    values = sorted(pixels)
    low, top = values[0], values[-1]
    full = full_scale(top)
    margin = full // _MARGIN
    if low > 0 and top <= MOST_SMALL_IDS:
        return None
    if low <= margin and top >= full - margin and (cut := _cut_at_half(pixels, flat, margin, full)):
        return cut
    return _cut_in_gap(values) or _cut_between_peaks(pixels, flat)


def _cut_at_half(pixels: Mapping[int, int], flat: Mapping[int, int], margin: int, full: int) -> ObjectCut | None:
    ends = sum(count for value, count in pixels.items() if not margin < value < full - margin)
    between = sum(pixels.values()) - ends
    if between > ends or _has_peak_between(flat, 0, full):
        return None
    least = half_of(full)
    if between:
        return ObjectCut(least, f"soft masks, values up to {max(pixels)}, foreground from {least} on")
    return ObjectCut(least, f"{_groups([*pixels], least)}, as a lossy codec leaves them, foreground from {least} on")


def _cut_in_gap(values: list[int]) -> ObjectCut | None:
    """Cut in the middle of a gap that is far wider than all others."""
    gaps = sorted((after - before, before) for before, after in pairwise(values))
    widest, before = gaps[-1]
    second = gaps[-2][0] if len(gaps) > 1 else 0
    if _WIDEST * widest < values[-1] - values[0] or widest < _WIDEST * second:
        return None
    least = before + (widest + 1) // 2
    return ObjectCut(least, f"{_groups(values, least)}, foreground from {least} on")


def _cut_between_peaks(pixels: Mapping[int, int], flat: Mapping[int, int]) -> ObjectCut | None:
    """Cut between the commonest dark and the commonest bright value, if few pixels are between both."""
    low, top = min(pixels), max(pixels)
    centre = (low + top) / 2
    dark = max((value for value in pixels if value < centre), key=lambda value: (pixels[value], -value))
    bright = max((value for value in pixels if value >= centre), key=lambda value: (pixels[value], value))
    quarter = (bright - dark) / 4
    darker = sum(count for value, count in pixels.items() if value <= dark + quarter)
    brighter = sum(count for value, count in pixels.items() if value >= bright - quarter)
    between = sum(pixels.values()) - darker - brighter
    if len(pixels) <= _MANY or 2 * (bright - dark) < top - low or 2 * between > min(darker, brighter):
        return None
    if _has_peak_between(flat, dark, bright):
        return None
    least = (dark + bright + 1) // 2
    return ObjectCut(least, f"values around {dark} and {bright}, foreground from {least} on")


def _has_peak_between(flat: Mapping[int, int], dark: int, bright: int) -> bool:
    """Return True if areas have a gray between both: another object, unlike soft edges, whose gray is everywhere."""
    step = (bright - dark) / _BANDS
    bands = [0] * _BANDS
    for value, count in flat.items():
        if dark <= value < bright:
            bands[int((value - dark) / step)] += count
    inner = bands[_EDGE_BANDS:-_EDGE_BANDS]
    brighter = sum(count for value, count in flat.items() if value >= bright - _EDGE_BANDS * step)
    return max(inner) > max(_PEAK * sum(inner) / len(inner), brighter * _LEAST_PEAK)


def _groups(values: list[int], least: int) -> str:
    lower, upper = [value for value in values if value < least], [value for value in values if value >= least]
    return f"values {_span(lower)} and {_span(upper)}"


def _span(values: list[int]) -> str:
    return f"{min(values)}" if len(values) == 1 else f"{min(values)} to {max(values)}"
