"""Decide what the values of a set of PNG masks mean, once for all of them: object ids, one object, or soft masks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from pipeline.masks.png_file import DAVIS_COLOURS, GRAY, PALETTE, PALETTE_COLOURS

VOID_ID = 255
USUAL_FORMATS = {PALETTE, GRAY, "1-bit gray"}
MOST_LABELS = 100  # of gray label maps; more values up to 255 are those of soft masks
LISTED = 8  # values in a sentence
MAX_LUMA_ID = 20  # most objects of a label map that lost its palette
_MIDDLE = range(16, 240)  # 8-bit values of soft edges: far from both ends
# Gray that Pillow makes of the palette's colours: a label map that lost its palette.
_LUMA = (PALETTE_COLOURS[: MAX_LUMA_ID + 1] @ [19595, 38470, 7471] + 0x8000) >> 16
LUMA_IDS = {int(gray): i for i, gray in reversed([*enumerate(_LUMA)]) if i}


@dataclass(frozen=True, slots=True)
class MaskMeaning:
    """The meaning of the values above 0.

    text: a sentence about what was found. ids: object id of each value; None: masks of one object. threshold: least
    value of the object in soft masks.
    """

    text: str
    ids: Mapping[int, str] | None = None
    threshold: int | None = None
    void: bool = False  # 255 is void
    usual: bool = True  # the form that data sets are published in

    def reread(self, ids: Mapping[int, str] | None, note: str) -> "MaskMeaning":
        """Return another meaning of the same values; `note` says which."""
        return replace(self, ids=ids, usual=False, text=f"{self.text}, {note}")


def half_of(top: int) -> int:
    """Return the least value that counts as foreground in soft masks whose values reach `top`."""
    return 128 if top <= VOID_ID else 32768


def is_soft(values: Iterable[int], formats: Iterable[str]) -> bool:
    """Return True if the values are those of soft (anti-aliased) gray masks: many, and some far from both ends."""
    above = sorted(set(values) - {0})
    if not above or {PALETTE, DAVIS_COLOURS} & set(formats):
        return False
    scale = 1 if above[-1] <= VOID_ID else 257
    middle = [value for value in above if value // scale in _MIDDLE]
    return bool(middle) and above[-1] // scale >= _MIDDLE.stop


def meaning_of_binary(pixels: Mapping[int, int], formats: Iterable[str]) -> MaskMeaning:
    """Return the meaning of masks of one object each. pixels: their number by value above 0."""
    above = sorted(pixels)
    if is_soft(above, formats):
        least = half_of(above[-1])
        text = f"soft masks, values up to {above[-1]}, foreground from {least} on"
        return MaskMeaning(_sentence(formats, text), threshold=least, usual=False)
    text = f"{_listed(above)}, foreground is any value above 0"
    return MaskMeaning(_sentence(formats, text), usual=set(formats) <= USUAL_FORMATS)


def meaning_of_labels(pixels: Mapping[int, int], formats: Iterable[str]) -> MaskMeaning:
    """Return the meaning of label maps: object ids, unless the values look like masks of one object.

    pixels: their number by value above 0. Values are those of soft masks if there are too many for ids, or if the
    object has more pixels than each gray of its edges, which are then no ids from 1 on.
    """
    above = sorted(pixels)
    top = above[-1] if above else 0
    if above in ([VOID_ID], [65535]):
        return MaskMeaning(_sentence(formats, f"only 0 and {top}, one object"), usual=False)
    scale = 1 if top <= VOID_ID else 257
    edges = [count for value, count in pixels.items() if value // scale in _MIDDLE]
    object_pixels = sum(count for value, count in pixels.items() if value // scale >= _MIDDLE.stop)
    ids = above[:-1] == [*range(1, len(above))] or set(above) <= {*LUMA_IDS, VOID_ID}
    if is_soft(above, formats) and (len(above) > MOST_LABELS or (not ids and object_pixels > max(edges))):
        least = half_of(top)
        text = f"soft masks, values up to {top}, one object where the value is at least {least}"
        return MaskMeaning(_sentence(formats, text), threshold=least, usual=False)
    void = VOID_ID in above
    names = {value: str(value) for value in above if value != VOID_ID}
    text = f"{_listed(list(names))}, object ids" + (", 255 is void" if void else "")
    return MaskMeaning(_sentence(formats, text), names, void=void, usual=set(formats) <= USUAL_FORMATS)


def differs(own: MaskMeaning, common: MaskMeaning, top: int, values: int) -> bool:
    """Return True if some masks of a set have a meaning of their own, which differs from that of all together.

    top, values: the highest value of these masks, and the number of values. Masks of one object (0 and 255, soft) among
    label maps; masks that never reach the half of soft ones around them, because they are crisp or have fewer bits.
    """
    if common.threshold is None:
        return own.ids is None and common.ids is not None
    crisp = values == 1 and top in (1, VOID_ID)
    return top < common.threshold and (crisp or (own.threshold or common.threshold) < common.threshold)


def _listed(values: list[int]) -> str:
    if not values:
        return "no value above 0"
    more = f" ... ({len(values)} values)" if len(values) > LISTED else ""
    return f"values {', '.join(map(str, values[:LISTED]))}{more}"


def _sentence(formats: Iterable[str], text: str) -> str:
    return f"{', '.join(sorted(formats)) or 'no images'}: {text}"
