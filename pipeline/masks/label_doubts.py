"""Find label maps whose values are hardly what they seem: rings of interpolation, and objects saved as void.

Interpolation between the background and a label of 2 or more leaves a ring of lower labels around the object, which is
one or two pixels thin. Label maps of several programs in one folder have 1 in some frames and 255 in others.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pipeline.masks.mask_values import SAVE_LABELS
from pipeline.masks.value_groups import VOID_ID

# How a label of 2 or more ends along a row or column: at the background; at a lower label with the background right
# behind it, as interpolation leaves it; at a lower label that is wider.
DIRECT, STEPPED, WIDE = range(3)
_KINDS = 3
_REACH = 3  # pixels
LEAST_STEPS = 24  # neighbours; fewer may be a detail of two objects
LEAST_OF_DIRECT, LEAST_SHARE = 1 / 2, 2 / 5  # times the direct ends, and all; crisp objects hardly have so many steps
LEAST_OF_OBJECT = 0.1  # share of the mean area of an object; smaller void areas may be void

Ends = Counter[tuple[int, int]]  # by label and kind of end


def ends_of(labels: np.ndarray) -> Ends:
    """Return how often the labels of a map, uint8 [H, W], end in each way. Void counts as background."""
    padded = np.pad(np.where(labels == VOID_ID, np.uint8(0), labels), _REACH, mode="edge")
    width, flat = padded.shape[1], padded.ravel()
    start, stop = _REACH * width, len(flat) - _REACH * width
    found = []
    for step in (1, -1, width, -width):
        at = start + np.flatnonzero((flat[start:stop] > flat[start + step : stop + step]) & (flat[start:stop] > 1))
        at = at[(at % width >= _REACH) & (at % width < width - _REACH)]
        low, behind = flat[at + step], np.minimum(flat[at + 2 * step], flat[at + 3 * step])
        kind = np.where(low == 0, DIRECT, np.where(behind == 0, STEPPED, WIDE))
        found.append(flat[at].astype(np.int64) * _KINDS + kind)
    counts = np.bincount(np.concatenate(found))
    return Counter({divmod(int(at), _KINDS): int(counts[at]) for at in np.flatnonzero(counts)})


def ring_problem(ends: Ends, inner: Mapping[int, int]) -> str | None:
    """Return why the labels of a video are those of interpolated maps; None if they may well be objects.

    inner: pixels by value that all four neighbours equal. A lower label that is a thin ring alone may be an object.
    """
    for label in sorted({label for label, _ in ends}):
        direct, stepped, wide = (ends[label, kind] for kind in (DIRECT, STEPPED, WIDE))
        is_likely = stepped >= max(LEAST_STEPS, direct * LEAST_OF_DIRECT, (direct + stepped + wide) * LEAST_SHARE)
        if is_likely and any(inner.get(lower, 0) >= LEAST_STEPS for lower in range(1, label)):
            return f"label {label} has a thin ring of lower labels around it, as interpolation makes it; {SAVE_LABELS}"
    return None


def void_problem(frames: Iterable[tuple[str, int, dict[int, int]]]) -> str | None:
    """Return an example of each side if the whole foreground of some frames is 255, and others have no 255 at all.

    frames: name, pixels in all, and pixels by value above 0 of each frame of a video.
    """
    shown = [(name, area, pixels) for name, area, pixels in frames if pixels]
    of_void = [(name, pixels[VOID_ID] / area) for name, area, pixels in shown if set(pixels) == {VOID_ID}]
    of_ids = [(name, pixels, sum(pixels.values()) / area) for name, area, pixels in shown if VOID_ID not in pixels]
    if not of_void or not of_ids or len(of_void) + len(of_ids) < len(shown):
        return None
    mean = sum(share for *_, share in of_ids) / len(of_ids)
    name, share = max(of_void, key=lambda one: one[1])
    if share < LEAST_OF_OBJECT * mean:
        return None
    other, pixels, _ = of_ids[0]
    text = f"frame {name} has only 0 and 255, frame {other} only 0 and {_listed(sorted(pixels))}"
    return f"{text}: 255 is hardly void there; save the same value for an object in all frames"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values[:5])) + (" ..." if len(values) > 5 else "")
