"""Parse JSON that others wrote: whatever is wrong with it is a ValueError."""

import json
from typing import Any

MAX_VALUES = 2**23  # Python takes up to 150 bytes for one, in texts of 2 or 3


def parse(text: str | bytes) -> Any:
    """Return the values in a JSON text. Raises ValueError, also for more than MAX_VALUES, or if it is nested too deep.

    The values are counted before they take memory.
    """
    if most_values(text) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def most_values(text: str | bytes) -> int:
    """Return at least the number of values in a JSON text, less one: before each is a comma or a bracket."""
    marks = (b",", b"[", b"{") if isinstance(text, bytes) else (",", "[", "{")
    return sum(text.count(mark) for mark in marks)  # pyright: ignore[reportArgumentType]


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the object in a JSON text. Raises ValueError if it holds anything else."""
    values = parse(text)
    if not isinstance(values, dict):
        raise ValueError("it must hold a JSON object")
    return values
