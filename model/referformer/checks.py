"""Checks that the configs of the model and its backbones share."""

from dataclasses import fields
from typing import Any

# Far above every published size. A file with larger ones is damaged, or made to take all memory.
LARGEST = {"vocab_size": 2**20, "depths": 256, "layers": 256, "levels": 16, "window": 64, "patch": 64, "queries": 4096}
LARGEST_OTHER = 2**15


def require_positive(config: Any) -> None:
    """Raise ValueError unless integers are in their range, from 1 (0 if that is their default), fractions in [0, 1)."""
    for item in fields(config):
        value = getattr(config, item.name)
        smallest = 0 if item.default == 0 else 1
        largest = LARGEST.get(item.name.removeprefix("encoder_").removeprefix("decoder_"), LARGEST_OTHER)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not 0 <= number < 1:
                raise ValueError(f"{item.name} must be in [0, 1), got {number}")
            if isinstance(number, int) and number < smallest:
                raise ValueError(f"{item.name} must be at least {smallest}, got {number}")
            if isinstance(number, int) and number > largest:
                raise ValueError(f"{item.name} must be at most {largest}, got {number}")


def require_divisible(config: Any, name: str, value: int, by_name: str, by: int) -> None:
    """Raise ValueError unless `value` is a multiple of `by`."""
    if value % by:
        raise ValueError(f"{type(config).__name__}: {name} {value} is not a multiple of {by_name} {by}")
