"""Build click commands from the dataclasses of `jobs.config`, with help in groups."""

import contextlib
import inspect
import os
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click

from jobs.config.options import KEY, Option
from schemas.errors import InputError
from schemas.printable import printable
from schemas.shown import bounded, without_secrets

METAVARS = {int: "N", float: "X"}
SUMMARY = 200  # more than any summary has, so that click does not shorten it


LAST = "Access"  # the heading at the end of each help


class GoneError(click.ClickException):
    """The working folder was deleted, so no relative path leads anywhere, and some libraries end the process."""

    exit_code = InputError.exit_code


class ConfigCommand(click.Command):
    """A command whose parameters are the fields of `config`; `callback` gets them by name, and `as_json`."""

    def __init__(self, config: type, callback: Callable[..., None], **settings: Any):
        self.config = config
        self.declared: dict[str, Option] = {field.name: field.metadata[KEY] for field in fields(config)}
        hints = get_type_hints(config)
        in_order = sorted(fields(config), key=lambda field: not field.metadata[KEY].is_argument)
        params = [_parameter(field, hints[field.name]) for field in in_order]
        params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON on stdout."))
        text = _verbatim(config.__doc__ or "")
        for name, option in self.declared.items():
            if option.is_argument and option.choices and not isinstance(option.choices, Mapping):
                text += f"\n\n{name.upper()} is one of {', '.join(option.choices)}."
        super().__init__(None, callback=callback, params=params, help=text, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a second value of an option that takes one: click would use the last and ignore the others."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for param, times in Counter(given).items():
            if isinstance(param, click.Option) and times > 1 and not (param.multiple or param.is_flag):
                raise click.UsageError(f"{param.opts[-1]} is given {times} times, but takes one value; give one", ctx)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            os.getcwd()
        except FileNotFoundError:
            text = "the working folder does not exist any more; change to another folder (cd) and repeat the command"
            raise GoneError(text) from None
        return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, in the order of first mention, after described arguments."""
        for name, option in self.declared.items():
            if option.is_argument and isinstance(option.choices, Mapping):
                with formatter.section(name.upper()):
                    formatter.write_dl([(choice, str(text)) for choice, text in option.choices.items()])
        headings = [option.heading for option in self.declared.values() if not option.is_argument]
        headings.sort(key=LAST.__eq__)
        records: dict[str, list[tuple[str, str]]] = {heading: [] for heading in headings}
        last = "Output" if "Output" in records or len(records) > 1 else "Options"
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)):
                declared = self.declared.get(param.name or "")
                records.setdefault(declared.heading if declared else last, []).append(record)
        for heading, lines in records.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


class SectionedGroup(click.Group):
    """A group of commands that its help lists under headings, each with its whole summary."""

    def __init__(self, sections: Mapping[str, Mapping[str, click.Command]], help: str, **settings: Any):
        commands = {name: command for section in sections.values() for name, command in section.items()}
        super().__init__(None, commands=commands, help=_verbatim(help), **settings)
        self.sections = {heading: list(section) for heading, section in sections.items()}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _safe_messages():
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _safe_messages():  # of the commands of this group too
            return super().invoke(ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        wide = max(map(len, self.commands))
        for heading, names in self.sections.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(name.ljust(wide), self.commands[name].get_short_help_str(SUMMARY)) for name in names]
                )


@contextlib.contextmanager
def _safe_messages() -> Iterator[None]:
    """Hide secrets in click's errors about the words of the command line, and escape control characters."""
    try:
        yield
    except click.ClickException as error:
        error.message = printable(bounded(without_secrets(error.message)))
        raise


def _verbatim(docstring: str) -> str:
    """Return the docstring with a mark before each indented block, which click then leaves as it is."""
    blocks = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(f"\b\n{textwrap.dedent(text)}" if text.startswith("    ") else text for text in blocks)


def _parameter(field: Field, hint: Any) -> click.Parameter:
    option: Option = field.metadata[KEY]
    if get_origin(hint) is UnionType:  # `X | None`
        hint = next(part for part in get_args(hint) if part is not type(None))
    repeated = get_origin(hint) is tuple
    base = get_args(hint)[0] if repeated else hint
    kind = _click_type(base, option)
    if option.is_argument:
        nargs = -1 if repeated else 1
        return click.Argument([field.name], type=kind, metavar=option.metavar, nargs=nargs, required=True)
    settings: dict[str, Any] = {"help": option.help}
    if hint is bool:
        settings |= {"is_flag": True}
    else:
        metavar = option.metavar or ("PATH" if option.is_path else METAVARS.get(base))
        settings |= {"type": kind, "multiple": repeated, "metavar": metavar}
        if field.default is MISSING:
            settings |= {"required": True}
        elif not repeated:
            settings |= {"default": field.default, "show_default": field.default is not None}
    if option.value_if_bare is not None:
        settings |= {"is_flag": False, "flag_value": option.value_if_bare}
    return click.Option([option.flag or f"--{field.name.replace('_', '-')}", field.name], **settings)


def _click_type(kind: Any, option: Option) -> Any:
    if choices := get_args(kind) if get_origin(kind) is Literal else option.choices:
        return click.Choice(list(choices))
    least = option.least if option.above is None else option.above
    if least is None and option.most is None:
        return kind
    number: Any = click.IntRange if kind is int else click.FloatRange
    return number(least, option.most, min_open=option.above is not None)
