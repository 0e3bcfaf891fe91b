"""One of several equal shares of a run, for commands that know nothing of each other."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from schemas.errors import InputError

T = TypeVar("T")
TEXT = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True, slots=True)
class Shard:
    """Share `number` of `count`, from 1. The default is the whole."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse I/N. Raises InputError."""
        found = TEXT.fullmatch(text)
        shard = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not 1 <= shard.number <= shard.count:
            raise InputError(f"--shard must be I/N with I from 1 to N, as in 1/4 and 4/4, got {text!r}")
        return shard

    def of(self, units: Sequence[T], before: int = 0) -> list[T]:
        """Return this share of `units`, which follow on `before` others in the plan.

        Units are dealt out in turn. The plan has the longest first and only grows at its end, so shares are of similar
        size, and a unit stays in its share.
        """
        return list(units[(self.number - 1 - before) % self.count :: self.count])
