"""Declare the options of a command as fields of a dataclass: name, type, default, choices and help in one place.

The field's name is the option's name, `unit_frames` for `--unit-frames`; its annotation is the type. `bool` makes a
flag, `tuple[...]` a repeatable option, `Literal[...]` a choice. The docstring of the class is the help of the command.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, dataclass_transform

from schemas.errors import InputError

KEY = "option"  # of the metadata of a field


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """What the command line knows of a field besides its name, type and default."""

    help: str = ""
    heading: str = "Options"  # in the help of the command
    flag: str | None = None  # where it is not the name of the field
    metavar: str | None = None
    choices: Sequence[str] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    value_if_bare: str | None = None  # makes the value optional: what the option means without one
    is_path: bool = False  # a path or URI, which `rvos submit` makes absolute
    is_argument: bool = False


def option(*, help: str, **details: Any) -> Any:
    """A field that is an option; required unless `default` is given. Details: see `Option`."""
    given = {"default": details.pop("default")} if "default" in details else {}
    return field(**given, metadata={KEY: Option(help=help, **details)})


def argument(**details: Any) -> Any:
    """A field that is a required argument; a tuple takes all that follow."""
    return field(metadata={KEY: Option(is_argument=True, **details)})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option, argument))
def command_config(cls: type) -> type:
    """Decorate a class whose fields are the options of a command; the result is a frozen dataclass."""
    return dataclass(frozen=True, kw_only=True, slots=True)(cls)


def require_choice(option: str, value: str, choices: Sequence[str]) -> None:
    """Raise InputError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"unknown {option} {value!r}; choose from {', '.join(choices)}")
