"""Checks that the configs of the model and its backbones share."""

from dataclasses import fields
from typing import Any


def require_positive(config: Any) -> None:
    """Raise ValueError unless integers are at least 1, or 0 if that is their default, and fractions in [0, 1)."""
    for item in fields(config):
        value = getattr(config, item.name)
        smallest = 0 if item.default == 0 else 1
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not 0 <= number < 1:
                raise ValueError(f"{item.name} must be in [0, 1), got {number}")
            if isinstance(number, int) and number < smallest:
                raise ValueError(f"{item.name} must be at least {smallest}, got {number}")


def require_divisible(config: Any, name: str, value: int, by_name: str, by: int) -> None:
    """Raise ValueError unless `value` is a multiple of `by`."""
    if value % by:
        raise ValueError(f"{type(config).__name__}: {name} {value} is not a multiple of {by_name} {by}")
