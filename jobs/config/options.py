"""Declare the options of a command as the fields of a dataclass: name, type, default, choices and help in one place.

A field `unit_frames` is the option `--unit-frames`, its annotation gives the type: `bool` is a flag, `tuple[...]` a
repeatable option, `Literal[...]` a choice. The docstring of the class is the help of the command; its first sentence
is the summary, and its indented blocks are printed as they are.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, dataclass_transform

from schemas import access
from schemas.errors import InputError
from schemas.kinds import Role
from schemas.uri import HTTP, parse, parse_address, scheme_of

KEY = "option"  # in the metadata of a field
TABLE_FORMATS = ("csv", "latex", "markdown")  # see `pipeline.report.score_tables`


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """The properties of an option that are not its name, type or default.

    heading: group of options in the help.
    flag: name on the command line, if it differs from the field's.
    choices: a mapping has a description of each.
    least, above, most: the smallest value, an exclusive lower bound, the largest value.
    value_if_bare: value of the option when it is given without one.
    takes: what a path or URI must hold; the message for another thing says what it is.
    names: values of such an option that are not paths.
    is_cluster: the value is the address of a Ray cluster.
    """

    help: str = ""
    heading: str = "Options"
    flag: str | None = None
    metavar: str | None = None
    choices: Sequence[str] | Mapping[str, object] = ()
    least: float | None = None
    above: float | None = None
    most: float | None = None
    value_if_bare: str | None = None
    takes: Role | None = None
    names: Sequence[str] = ()
    is_cluster: bool = False
    is_argument: bool = False

    @property
    def is_path(self) -> bool:
        """True for a path or URI, which `rvos submit` makes absolute."""
        return self.takes is not None


def option(*, help: str, **details: Any) -> Any:
    """Declare an option, which is required unless `default` is given. For the details see `Option`."""
    default = {"default": details.pop("default")} if "default" in details else {}
    return field(**default, metadata={KEY: Option(help=help, **details)})


def option_of(config: type, name: str, **other: Any) -> Any:
    """Declare an option as another command has it, but for the details `other`."""
    (same,) = (each for each in fields(config) if each.name == name)
    return field(default=same.default, metadata={KEY: replace(same.metadata[KEY], **other)})


def argument(**details: Any) -> Any:
    """Declare a required argument. A tuple takes all remaining ones."""
    return field(metadata={KEY: Option(is_argument=True, **details)})


def cluster_address(default: str | None, *, help: str, note: str = "", heading: str = "Resources") -> Any:
    """Declare `--address` of a command that can run on a Ray cluster: `help` says what for, `note` ends the help."""
    forms = (
        "local: a new one on this machine; auto: the one that this machine belongs to; HOST:PORT: the one whose head "
        "node has this address."
    )
    return option(
        default=default,
        metavar="local|auto|HOST:PORT",
        heading=heading,
        is_cluster=True,
        help="  ".join(part for part in (f"{help} {forms}", note) if part),
    )


def table_format() -> Any:
    """Declare `--format` of a command whose result has a `table`."""
    return option(
        default=None,
        flag="--format",
        choices=TABLE_FORMATS,
        heading="Output",
        help="Print the result as a table: csv (all digits), latex (needs booktabs) or markdown.",
    )


def finish_command(out: str) -> Any:
    """Declare `--on-finish` of a command that writes the folder `out`."""
    return option(
        default=None,
        metavar="COMMAND",
        heading="Output",
        help="Run COMMAND at the end, also after a failure or Ctrl-C, on the machine where this command runs, "
        "without a shell: for pipes or variables, name a script. It gets RVOS_EXIT_CODE, RVOS_OUT "
        f"({out}) and RVOS_COMMAND in its environment. Its own failure does not change the exit code.",
    )


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option, option_of, argument))
def command_config(cls: type) -> type:
    """Make a frozen dataclass of a class whose fields are the options of a command.

    An instance raises InputError for values outside the declared choices and bounds, wherever it is built. Paths and
    URIs are parsed, and the servers that they name may be read from: the user has named them.
    """
    own = getattr(cls, "__post_init__", None)

    def check(self: Any) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if item.metadata[KEY].is_path and value is not None:
                value = _parsed(item.metadata[KEY], value)
                object.__setattr__(self, item.name, value)
                access.allow(*(access.server_of(one) for one in _each(value) if scheme_of(one) in HTTP))
            for one in _each(value):
                if one is not None and one != item.default:
                    _check_value(item.name, item.metadata[KEY], one)
        if getattr(self, "allow_private", False):
            access.allow(access.PRIVATE)
        if own is not None:
            own(self)

    setattr(cls, "__post_init__", check)  # noqa: B010 - the class declares none
    return dataclass(frozen=True, kw_only=True, slots=True)(cls)


def _each(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _parsed(option: Option, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_parsed(option, one) for one in value)
    return value if value in option.names else parse(str(value))


def _check_value(name: str, option: Option, value: Any) -> None:
    label = label_of(name, option)
    if option.choices:
        require_choice(label, value, option.choices)
    if option.least is not None and not value >= option.least:
        raise InputError(f"{label} must be at least {option.least}, got {value}")
    if option.above is not None and not value > option.above:
        raise InputError(f"{label} must be above {option.above}, got {value}")
    if option.most is not None and not value <= option.most:
        raise InputError(f"{label} must be at most {option.most}, got {value}")
    if option.is_cluster:
        parse_address(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{label} must be a finite number, got {value}")


def label_of(name: str, option: Option) -> str:
    """Return what the help calls the option or argument of a field."""
    if option.is_argument:
        return option.metavar.split()[-1].rstrip(".") if option.metavar else name.upper()  # of "SCORES SCORES..."
    return option.flag or f"--{name.replace('_', '-')}"


def require_choice(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise InputError unless `value` is one of `choices`; `name` says what it is."""
    if value not in (known := list(choices)):
        raise InputError(f"unknown {name} '{value}'; choose from {', '.join(known)}")
