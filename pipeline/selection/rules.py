"""Rules that decide which pairs to keep: `mean_score >= 0.6`, one a line in a file, `#` before a remark."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.io import storage
from pipeline.selection.quality_signals import MEASURES
from schemas.errors import InputError, StorageError

_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Rule:
    """What a measure must be for the pair to be kept."""

    measure: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str, source: str = "--rule") -> "Rule":
        """A rule in words. Raises InputError, naming `source`, if it is none."""
        match = _FORM.fullmatch(text)
        try:
            name, comparison, bound = match.groups() if match else ("", "", "")
            found = cls(name, comparison, float(bound))
        except ValueError:
            raise InputError(f"{source}: {text!r} is no rule; write it as 'mean_score >= 0.6'") from None
        if found.measure not in MEASURES:
            raise InputError(f"{source}: there is no measure '{found.measure}'; there are {', '.join(MEASURES)}")
        return found

    def __str__(self) -> str:
        return f"{self.measure} {self.comparison} {_exact(self.bound)}"

    def reason(self, values: Mapping[str, float | None]) -> str | None:
        """Why a pair with these measures is dropped; None if it is kept. What is not known drops nothing."""
        value = values[self.measure]
        holds = _COMPARE[self.comparison]
        if value is None or holds(value, self.bound):
            return None
        shown = f"{value:.4g}"
        if holds(float(shown), self.bound):  # rounded, the reason would deny itself
            shown = _exact(value)
        return f"{self.measure} is {shown}, not {self.comparison} {_exact(self.bound)}"


def _exact(number: float) -> str:
    """So that it is the same number when it is typed again."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))


def read_rules(texts: Sequence[str], file: str | None) -> list[Rule]:
    """The rules given one by one, after those of a file. Raises InputError for what is no rule, naming its line."""
    rules = []
    if file is not None:
        try:
            lines = storage.read_bytes(storage.absolute(file), limit=1_000_000).decode("utf-8-sig").splitlines()
        except StorageError:
            raise
        except FileNotFoundError:
            raise InputError(f"no rules at {file}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"rules cannot be read from {file}: {error}") from None
        for number, line in enumerate(lines, start=1):
            if text := line.partition("#")[0].strip():
                rules.append(Rule.parse(text, f"{file} line {number}"))
    return [*rules, *(Rule.parse(text) for text in texts)]
