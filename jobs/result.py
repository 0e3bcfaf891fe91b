"""The base of the results that jobs return."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from schemas.printable import one_line


class JobResult(ABC):
    """A frozen dataclass that the command line prints, as text or with `--json`, before it exits with `exit_code`."""

    __slots__ = ()

    @property
    def exit_code(self) -> int:
        """0: success; 1: some pairs failed, or a check found problems."""
        return 0

    def to_json(self) -> dict:
        fields: Any = self
        return asdict(fields)

    @abstractmethod
    def text(self) -> str:
        """Return the lines to print, without a line break at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """Things that were left out for one reason. The reason may have a semicolon, then the way out."""

    reason: str
    count: int
    first: str

    def line(self) -> str:
        return f"left out: {with_count(self.reason, self.count, self.first)}"


def skipped_of(notes: Mapping[str, tuple[int, str]]) -> tuple[Skipped, ...]:
    """Return what was left out, from counts and first places by reason."""
    return tuple(Skipped(reason=text, count=count, first=first) for text, (count, first) in notes.items())


def error_lines(errors: Sequence[str], failed: int) -> list[str]:
    """Return a line for each of the first `errors`, and one that counts those of the other `failed` pairs."""
    more = [f"error   ... and {failed - len(errors)} more"] if errors and failed > len(errors) else []
    return [*(f"error   {one_line(text)}" for text in errors), *more]


def with_count(text: str, count: int, first: str) -> str:
    """Put a count, and the first place, before the semicolon of a warning or a reason."""
    subject, mark, advice = text.partition("; ")
    return f"{subject}: {count} (first: {first}){mark}{advice}"
