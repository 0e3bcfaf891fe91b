"""Turn the dataclass of a command's options into a click command."""

import re
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from jobs.config.options import KEY, Option

VERBATIM = re.compile(r"\n\n(?=    )")  # an indented block of a docstring, printed line by line


class ConfigCommand(click.Command):
    """A command whose parameters are the fields of `config`, a dataclass of `jobs.config`."""

    def __init__(self, name: str, config: type, callback: Callable, **settings: Any):
        self.config = config
        self.declared: dict[str, Option] = {field.name: field.metadata[KEY] for field in fields(config)}
        as_json = click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON on stdout.")
        super().__init__(
            name,
            callback=callback,
            params=[*_parameters(config), as_json],
            help=VERBATIM.sub("\n\n\b\n", config.__doc__ or ""),
            **settings,
        )


def _parameters(config: type) -> list[click.Parameter]:
    hints = get_type_hints(config)
    declared = sorted(fields(config), key=lambda field: not field.metadata[KEY].is_argument)
    return [_parameter(field, hints[field.name]) for field in declared]


def _parameter(field: Field, hint: Any) -> click.Parameter:
    option: Option = field.metadata[KEY]
    if get_origin(hint) is UnionType:  # `X | None`
        hint = next(part for part in get_args(hint) if part is not type(None))
    repeated = get_origin(hint) is tuple
    kind = _click_type(get_args(hint)[0] if repeated else hint, option)
    if option.is_argument:
        return click.Argument(
            [field.name], type=kind, metavar=option.metavar, nargs=-1 if repeated else 1, required=True
        )
    settings: dict[str, Any] = {"type": kind, "multiple": repeated, "metavar": option.metavar, "help": option.help}
    if hint is bool:
        settings = {"is_flag": True, "help": option.help}
    elif field.default is MISSING:
        settings["required"] = True
    elif not repeated:
        settings |= {"default": field.default, "show_default": field.default is not None}
    if option.value_if_bare is not None:
        settings |= {"is_flag": False, "flag_value": option.value_if_bare}
    return click.Option([option.flag or f"--{field.name.replace('_', '-')}", field.name], **settings)


def _click_type(kind: Any, option: Option) -> Any:
    choices = get_args(kind) if get_origin(kind) is Literal else option.choices
    if choices:
        return click.Choice(list(choices))
    least = option.least if option.above is None else option.above
    if least is None and option.most is None:
        return kind
    number: Any = click.IntRange if kind is int else click.FloatRange
    return number(least, option.most, min_open=option.above is not None)
