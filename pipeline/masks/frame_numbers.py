"""Frames that are named by numbers, and numbers that begin elsewhere than those of another side."""

from collections.abc import Iterable

RENAMED_WITHIN = 0.1  # of the absent frames, by which the number of other masks may differ
MOST_DIGITS = 9  # a longer name is a time stamp or a code


def is_number(name: str) -> bool:
    """Return True if a frame name is a frame number."""
    return name.isascii() and name.isdigit() and len(name) <= MOST_DIGITS


def shift_of(expected: Iterable[str | int], found: Iterable[str | int]) -> int:
    """Return by how much all numbers of `found` differ from those of `expected`; 0 if they are not merely shifted."""
    sides = [[*map(str, side)] for side in (expected, found)]
    if not all(is_number(name) for side in sides for name in side):
        return 0
    first, second = (sorted(map(int, side)) for side in sides)
    differences = {two - one for one, two in zip(first, second, strict=False)}
    return differences.pop() if len(first) == len(second) > 1 and len(differences) == 1 else 0


def are_renamed(wanted: int, absent: int, others: int) -> bool:
    """Return True if most wanted frames have no mask, and about as many masks have names of no frame.

    They are numbered in another way, such as 0, 1, 2 for the frames 0, 5, 10.
    """
    return 2 * absent > wanted and others > 1 and abs(others - absent) <= absent * RENAMED_WITHIN
