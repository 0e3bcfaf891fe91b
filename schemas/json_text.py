"""Parse JSON that others wrote: whatever is wrong with it is a ValueError."""

import json
from typing import Any

MAX_DIGITS = 1000  # of an integer
MAX_VALUES = 2**23  # Python takes up to 150 bytes for one, in texts of 2 or 3


def parse(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """Return the values in a JSON text. Raises ValueError, also for more than MAX_VALUES, or if it is nested too deep.

    See `loads` for integers.

    The values are counted before they take memory. unique_keys: an object with a key twice is an error, too; else the
    last one wins.
    """
    if most_values(text) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES} values")
    try:
        return loads(text, object_pairs_hook=_object_of if unique_keys else None)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def loads(text: str | bytes, **options: Any) -> Any:
    """As `json.loads`. Raises ValueError for an integer of more than MAX_DIGITS digits, which Python refuses too."""
    return json.loads(text, parse_int=_integer, **options)


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number in it has {len(digits)} digits; the most are {MAX_DIGITS}")
    return int(digits)


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate key {name!r:.100}")
        found[name] = value
    return found


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
