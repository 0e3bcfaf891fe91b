"""Check the values of a JSON object that others wrote against the fields of a dataclass."""

import math
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

MOST = 2**53  # larger integers are none of ours, and too large for the floats that they meet


def known_fields(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values that `cls` has fields for; newer versions may have more. Raises TypeError for another type.

    Lists, dicts, unions and plain types are checked, at any depth.
    """
    hints = get_type_hints(cls)
    found = {each.name: values[each.name] for each in fields(cls) if each.name in values}
    for name, value in found.items():
        if not _fits(value, hints[name]):
            raise TypeError(f"{name} is {value!r:.100}")
    return found


def _fits(value: Any, hint: Any) -> bool:
    inner = get_args(hint)
    if isinstance(hint, UnionType):
        return any(_fits(value, each) for each in inner)
    if hint is NoneType:
        return value is None
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value) and abs(value) <= MOST
    if hint is int:
        return type(value) is int and abs(value) <= MOST
    if (kind := get_origin(hint)) is list:
        return isinstance(value, list) and all(_fits(each, inner[0]) for each in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(each, inner[1]) for each in value.values())
    if issubclass(hint, tuple):  # a NamedTuple of texts, which is a list in JSON
        return isinstance(value, list) and list(map(type, value)) == [*get_type_hints(hint).values()]
    return type(value) is hint
