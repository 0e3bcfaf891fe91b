"""Parse JSON that others wrote: whatever is wrong with it is a ValueError."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
    """Return the values in a JSON text. Raises ValueError, also for one that is nested too deep."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def parse_object(text: str | bytes) -> dict[str, Any]:
    """Return the object in a JSON text. Raises ValueError if it holds anything else."""
    values = parse(text)
    if not isinstance(values, dict):
        raise ValueError("it must hold a JSON object")
    return values
