"""The result of every writer of this folder."""

from dataclasses import dataclass, field

UNREADABLE_NOTED = 10  # videos that are named in the notes


@dataclass(frozen=True, slots=True)
class Exported:
    """Counts of what was written, in the order in which they are printed, and notes for the user.

    Pairs that were left out are counted as "failed" (no masks) and "unseen" (their video cannot be read); either makes
    `rvos export` end with exit code 1.
    """

    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)
