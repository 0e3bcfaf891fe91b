"""Put a command into the canonical form in which it travels to a cluster: checked, in full, with absolute paths."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from jobs.config.options import KEY, Option, label_of
from jobs.config.run_options import NO_CHECKPOINT, RunOptions
from jobs.terminal.commands import ConfigCommand
from schemas.errors import InputError
from schemas.uri import parse, scheme_of


def canonical_command(group: click.Group, words: Sequence[str]) -> tuple[str, ...]:
    """Return a command of `group` as arguments, then the given options by name, so that equal commands are equal words.

    Local paths become absolute, `file:///...`. `--address auto` is added to a command that takes an address, so that it
    uses the cluster that it runs on. Raises click.UsageError for words that the command would not accept.
    """
    names, rest = [], list(words)
    command: click.Command = group
    while isinstance(command, click.Group):
        name = rest.pop(0) if rest else ""
        if name not in command.commands or name == "submit":
            known = ", ".join(sorted(set(command.commands) - {"submit"}))
            raise click.UsageError(f"a cluster cannot run {name!r}; choose from {known}")
        names.append(name)
        command = command.commands[name]
    with command.make_context(f"rvos {' '.join(names)}", rest) as context:
        declared = command.declared if isinstance(command, ConfigCommand) else {}
        _require_valid(command, context.params)
        arguments, options = [], {}
        for param in command.params:
            name = param.name or ""
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                words_of = list(_words(param, context.params[name], declared.get(name, Option())))
                if isinstance(param, click.Argument):
                    arguments += words_of
                else:
                    options[param.opts[-1]] = words_of
            elif name == "address":
                options["--address"] = ["--address", "auto"]
    return (*names, *arguments, *(word for _, words_of in sorted(options.items()) for word in words_of))


def _require_valid(command: click.Command, values: dict[str, Any]) -> None:
    """Raise click.UsageError for options that the job would refuse on a cluster."""
    if not isinstance(command, ConfigCommand):
        return
    on_cluster = {"address": "auto"} if "address" in command.declared else {}
    try:
        command.config(**{name: values[name] for name in command.declared} | on_cluster)
    except InputError as error:
        raise click.UsageError(str(error)) from None
    if issubclass(command.config, RunOptions) and values["checkpoint"] is None:
        raise click.UsageError(NO_CHECKPOINT)


def _words(param: click.Parameter, value: object, option: Option) -> Iterator[str]:
    for one in value if isinstance(value, tuple) else (value,):
        word = mark_local(str(one)) if option.is_path and one not in option.names else str(one)
        if isinstance(param, click.Argument):
            yield word
        elif isinstance(param, click.Option) and param.is_flag:
            yield (param.opts if one else param.secondary_opts)[-1]
        else:
            yield from (param.opts[-1], word)


def mark_local(path: str) -> str:
    """Return a local path as absolute `file:///...`, a URI of any other kind unchanged."""
    path = parse(path)
    return path if scheme_of(path) else Path(path).absolute().as_uri()


def typed_command(name: str, config_class: type, options: dict[str, Any]) -> str:
    """Return the command line `rvos NAME ...` that has these options."""
    arguments, others = [], []
    for declared in fields(config_class):
        values = options.get(declared.name)
        option: Option = declared.metadata[KEY]
        for value in values if isinstance(values, tuple) else (() if values in (None, False) else (values,)):
            if option.is_argument:
                arguments.append(str(value))
            else:
                others += [label_of(declared.name, option), *([] if value is True else [str(value)])]
    return shlex.join(["rvos", *name.split(), *arguments, *others])
