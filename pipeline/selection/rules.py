"""Rules that decide which pairs to keep: `mean_score >= 0.6`, in a file one on each line, with `#` before comments."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.io import storage
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from schemas.errors import InputError, StorageError

_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*")
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Rule:
    """The condition on a quality signal, `measure`, under which a pair is kept."""

    measure: str
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str, source: str = "--rule") -> "Rule":
        """Parse a rule. Raises InputError, naming `source`, for any other text."""
        match = _FORM.fullmatch(text)
        try:
            name, comparison, bound = match.groups() if match else ("", "", "")
            rule = cls(name, comparison, float(bound))
        except ValueError:
            raise InputError(f"{source}: {text!r} is not a rule; write it as 'mean_score >= 0.6'") from None
        if rule.measure not in QUALITY_SIGNALS:
            known = ", ".join(QUALITY_SIGNALS)
            raise InputError(f"{source}: unknown quality signal '{rule.measure}'; choose from {known}")
        return rule

    def __str__(self) -> str:
        return f"{self.measure} {self.comparison} {_exact(self.bound)}"

    def reason(self, values: Mapping[str, float | None]) -> str | None:
        """Return the reason why a pair with these values is dropped; None if it is kept, as it is without a value."""
        value = values[self.measure]
        holds = _COMPARE[self.comparison]
        if value is None or holds(value, self.bound):
            return None
        shown = f"{value:.4g}"
        if holds(float(shown), self.bound):  # rounded, it would contradict the reason
            shown = _exact(value)
        return f"{self.measure} is {shown}, not {self.comparison} {_exact(self.bound)}"


def _exact(number: float) -> str:
    """Format a number so that it parses to the same number."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(float(number))


def read_rules(texts: Sequence[str], file: str | None) -> list[Rule]:
    """Read the rules of a file, then `texts`. Raises InputError, naming the line, for a text that is not a rule."""
    rules = []
    if file is not None:
        try:
            lines = storage.read_bytes(storage.absolute(file), limit=1_000_000).decode("utf-8-sig").splitlines()
        except StorageError:
            raise
        except FileNotFoundError:
            raise InputError(f"no rules at {file}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read rules from {file}: {error}") from None
        for number, line in enumerate(lines, start=1):
            if text := line.partition("#")[0].strip():
                rules.append(Rule.parse(text, f"{file} line {number}"))
    return [*rules, *(Rule.parse(text) for text in texts)]
