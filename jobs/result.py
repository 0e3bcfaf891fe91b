"""The base of the results that jobs return."""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any


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
