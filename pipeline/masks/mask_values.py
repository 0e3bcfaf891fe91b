"""Decide what the values of a set of PNG masks mean, once for all of them: object ids, one object, or soft masks."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from pipeline.masks.png_file import DAVIS_COLOURS, GRAY, PALETTE, PALETTE_COLOURS
from pipeline.masks.value_groups import MOST_SMALL_IDS, VOID_ID, are_ids_and_void, full_scale, object_cut

USUAL_FORMATS = {PALETTE, GRAY, "1-bit gray"}
MOST_LABELS = 100  # of gray label maps; more values up to 255 are those of soft masks
LISTED = 8  # values in a sentence
LEAST_INNER = 0.1  # share of the pixels of an object that are surrounded by others of it; edges and noise have less
MOST_OF_SPECK = 0.1  # share of all pixels; more are an object, though of stripes
FEWEST_LABELS = 4  # in maps that are refused because most are specks; fewer may be small objects
LEAST_NOISE, MOST_NOISE = 0.005, 0.1  # times the pixels of objects; fewer may be a slip of the annotator
LEAST_INNER_OF_OBJECT = 1 / 3  # of the smallest discs, which have five inner pixels of 13
_MIDDLE = range(16, 240)  # 8-bit values of soft edges: far from both ends
# Gray that Pillow makes of the palette's colours: a label map that lost its palette.
_LUMA = (PALETTE_COLOURS[: MOST_SMALL_IDS + 1] @ [19595, 38470, 7471] + 0x8000) >> 16
LUMA_IDS = {int(gray): i for i, gray in reversed([*enumerate(_LUMA)]) if i}
SAVE_CRISP = "save the object as 255 and all else as 0, as PNG from the beginning"
SAVE_BACKGROUND = "save the background as 0 and each object as its id"
SAVE_LABELS = "save the masks as PNG from the beginning, and resize them with the nearest neighbour only"


@dataclass(slots=True)
class ValueCounts:
    """Pixels by value, 0 included, and pixel formats, of some masks.

    flat: pixels of gray masks whose neighbours have nearly the same value. measured, inner: of label maps of some size,
    the pixels by value, and those that all four neighbours equal.
    """

    pixels: Counter[int] = field(default_factory=Counter)
    formats: set[str] = field(default_factory=set)
    flat: Counter[int] = field(default_factory=Counter)
    measured: Counter[int] = field(default_factory=Counter)
    inner: Counter[int] = field(default_factory=Counter)

    @classmethod
    def sum(cls, parts: Iterable["ValueCounts"]) -> "ValueCounts":
        """Return the counts of all parts."""
        total = cls()
        for part in parts:
            for name in ("pixels", "flat", "measured", "inner"):
                getattr(total, name).update(getattr(part, name))
            total.formats |= part.formats
        return total

    @property
    def above(self) -> list[int]:
        """The values above 0, ascending."""
        return sorted(value for value, count in self.pixels.items() if value and count)

    def gray(self) -> dict[int, int]:
        """Return the pixels by value that occurs, 0 included."""
        return {value: count for value, count in self.pixels.items() if count > 0}


@dataclass(frozen=True, slots=True)
class MaskMeaning:
    """The meaning of the values above 0.

    text: a sentence about what was found. ids: object id of each value; None: masks of one object. threshold: least
    value of the object in soft masks. problem: why the values say nothing, and the way out.
    """

    text: str
    ids: Mapping[int, str] | None = None
    threshold: int | None = None
    void: bool = False  # 255 is void
    usual: bool = True  # the form that data sets are published in
    problem: str | None = None

    def reread(self, ids: Mapping[int, str] | None, note: str) -> "MaskMeaning":
        """Return another meaning of the same values; `note` says which."""
        return replace(self, ids=ids, usual=False, text=f"{self.text}, {note}")


def is_soft(values: Iterable[int], formats: Iterable[str]) -> bool:
    """Return True if the values are those of soft (anti-aliased) gray masks: many, and some far from both ends."""
    above = sorted(set(values) - {0})
    if not above or {PALETTE, DAVIS_COLOURS} & set(formats):
        return False
    scale = 1 if above[-1] <= VOID_ID else 257
    middle = [value for value in above if value // scale in _MIDDLE]
    return bool(middle) and above[-1] // scale >= _MIDDLE.stop


def meaning_of_binary(counts: ValueCounts) -> MaskMeaning:
    """Return the meaning of masks of one object each.

    All values above 0 are the object in palette images, if there is one value, and if they are small ids or those of
    the DAVIS palette. Others are gray: the object is the bright one of two groups.
    """
    above, formats = counts.above, counts.formats
    are_ids = counts.pixels[0] > 0 and (set(above) <= {*range(MOST_SMALL_IDS + 1)} or set(above) <= LUMA_IDS.keys())
    specks, with_void = _specks(counts, 1), are_ids_and_void(counts.gray())
    are_ids |= with_void and not specks
    if len(above) < 2 or are_ids or {PALETTE, DAVIS_COLOURS} & formats:
        text = f"{_listed(above)}, foreground is any value above 0"
        return MaskMeaning(_sentence(formats, text), usual=formats <= USUAL_FORMATS)
    cut = object_cut(counts.gray(), counts.flat)
    if cut is None or (with_void and len(specks) < len(above) - 1):
        problem = f"the values do not say where the object begins; {SAVE_CRISP}"
        return MaskMeaning(_sentence(formats, _listed(above)), usual=False, problem=problem)
    return MaskMeaning(_sentence(formats, cut.text), threshold=cut.least, usual=False)


def meaning_of_labels(counts: ValueCounts) -> MaskMeaning:
    """Return the meaning of label maps: object ids, unless the values look like masks of one object.

    Values are those of soft masks if there are too many for ids, or if the object has more pixels than each gray of
    its edges, which are then no ids from 1 on. They are noise if they have several values at both ends and none
    between, or if most of them are specks. Without a 0, the lower one of two values is the background.
    """
    above, formats = counts.above, counts.formats
    top = above[-1] if above else 0
    if above in ([VOID_ID], [65535]) and not counts.pixels[0]:
        return MaskMeaning(
            _sentence(formats, _listed(above)), usual=False, problem=f"every pixel is {top}; {SAVE_BACKGROUND}"
        )
    if above in ([VOID_ID], [65535]):
        return MaskMeaning(_sentence(formats, f"only 0 and {top}, one object"), usual=False)
    specks = _specks(counts, FEWEST_LABELS)
    is_soft_object = _is_soft_object(counts) or _is_noise_at_ends(counts)
    on_gray = not counts.pixels[0] and top > MOST_SMALL_IDS and top != VOID_ID and len(above) == 2
    if is_soft_object or specks or on_gray:
        cut = None if {PALETTE, DAVIS_COLOURS} & formats else object_cut(counts.gray(), counts.flat)
        if cut is not None:
            return MaskMeaning(_sentence(formats, f"{cut.text}, one object"), threshold=cut.least, usual=False)
        some = f", {len(specks)} of them only specks and edges, such as {specks[0]}" if specks else ""
        reason = f"{len(above)} values{some}, are no object ids: interpolated, or from a lossy codec"
        return MaskMeaning(_sentence(formats, _listed(above)), usual=False, problem=f"{reason}; {SAVE_LABELS}")
    void = VOID_ID in above
    names = {value: str(value) for value in above if value != VOID_ID}
    text = f"{_listed(list(names))}, object ids" + (", 255 is void" if void else "")
    return MaskMeaning(_sentence(formats, text), names, void=void, usual=formats <= USUAL_FORMATS)


def _is_soft_object(counts: ValueCounts) -> bool:
    above = counts.above
    if not is_soft(above, counts.formats):
        return False
    scale = 1 if above[-1] <= VOID_ID else 257
    edges = [counts.pixels[value] for value in above if value // scale in _MIDDLE]
    object_pixels = sum(counts.pixels[value] for value in above if value // scale >= _MIDDLE.stop)
    ids = above[:-1] == [*range(1, len(above))] or set(above) <= {*LUMA_IDS, VOID_ID}
    return len(above) > MOST_LABELS or (not ids and object_pixels > max(edges))


def _is_noise_at_ends(counts: ValueCounts) -> bool:
    """Return True if all values are near 0 or near 255, several of them near 255."""
    above = counts.above
    if not above or {PALETTE, DAVIS_COLOURS} & counts.formats:
        return False
    full = full_scale(above[-1])
    bright = [value for value in above if value >= full - full // 16]
    return len(bright) > 1 and all(value <= full // 16 for value in above[: -len(bright)])


def _specks(counts: ValueCounts, fewest: int) -> list[int]:
    """Return the values that have hardly a pixel surrounded by others, if they are the most of `fewest` or more."""
    labels = [value for value in counts.above if value != VOID_ID and counts.measured[value]]
    most = MOST_OF_SPECK * counts.pixels.total()
    specks = [
        value
        for value in labels
        if counts.inner[value] < LEAST_INNER * counts.measured[value] and counts.pixels[value] <= most
    ]
    return specks if len(labels) >= fewest and 2 * len(specks) > len(labels) else []


def are_noise(counts: ValueCounts, values: Collection[int]) -> bool:
    """Return True if these labels, of no objects, are thin, and neither hardly there nor as large as objects are.

    A stray stroke of a person is far smaller than the objects of the same video.
    """
    total = sum(counts.pixels[value] for value in values)
    rest = sum(counts.pixels[value] for value in counts.above if value != VOID_ID) - total
    inner, measured = (sum(of[value] for value in values) for of in (counts.inner, counts.measured))
    return inner < LEAST_INNER_OF_OBJECT * measured and LEAST_NOISE * rest <= total <= MOST_NOISE * rest


def differs(own: MaskMeaning, common: MaskMeaning, counts: ValueCounts) -> bool:
    """Return True if some masks of a set have a meaning of their own, which differs from that of all together.

    Masks of one object (0 and 255, soft) among label maps, and label maps with areas of several ids among soft masks;
    masks that never reach the half of soft ones around them, because they are crisp or have fewer bits. counts: of
    these masks, which have values above 0.
    """
    top, values = counts.above[-1], len(counts.above)
    if common.threshold is None:
        return own.ids is None and common.ids is not None and own.problem is None
    crisp = values == 1 and top in (1, VOID_ID)
    crisp |= own.ids is not None and values > 1 and not _specks(counts, 1)
    return top < common.threshold and (crisp or (own.threshold or common.threshold) < common.threshold)


def _listed(values: list[int]) -> str:
    if not values:
        return "no value above 0"
    more = f" ... ({len(values)} values)" if len(values) > LISTED else ""
    return f"values {', '.join(map(str, values[:LISTED]))}{more}"


def _sentence(formats: Iterable[str], text: str) -> str:
    return f"{', '.join(sorted(formats)) or 'no images'}: {text}"
