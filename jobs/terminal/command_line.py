"""A command of rvos as it travels to a cluster: checked before it goes, spelled out in full, its paths absolute."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from jobs.config.submit import LOCAL
from jobs.terminal.commands import ConfigCommand
from model.bundled import BUNDLED


def spell_out(group: click.Group, words: Sequence[str]) -> tuple[str, ...]:
    """`words` of a command of `group` in one canonical form: arguments, then given options in the order of its help.

    Local paths become `file:///...`, counted from the current folder; a command that takes `--address` is told to use
    the cluster that it runs on. Raises click.UsageError for words that the command would refuse.
    """
    names, rest = [], list(words)
    command: click.Command = group
    while isinstance(command, click.Group):
        name = rest.pop(0) if rest else ""
        if name not in command.commands or name == "submit":
            known = ", ".join(sorted(set(command.commands) - {"submit"}))
            raise click.UsageError(f"{name!r} is no command that a cluster can run; choose one of {known}")
        names.append(name)
        command = command.commands[name]
    with command.make_context(f"rvos {' '.join(names)}", rest) as context:
        given = [
            param for param in command.params if context.get_parameter_source(param.name) is ParameterSource.COMMANDLINE
        ]
        declared = command.declared if isinstance(command, ConfigCommand) else {}
        paths = {name for name, option in declared.items() if option.is_path}
        spelled = [word for param in given for word in _words(param, context.params[param.name], param.name in paths)]
        here = {param.name for param in command.params} - {param.name for param in given}
    return (*names, *spelled, *(["--address", "auto"] if "address" in here else []))


def _words(param: click.Parameter, value: object, is_path: bool) -> Iterator[str]:
    values = value if isinstance(value, tuple) else (value,)
    for one in values:
        word = located(str(one)) if is_path and one != BUNDLED else str(one)
        if isinstance(param, click.Argument):
            yield word
        elif isinstance(param, click.Option) and param.is_flag:
            yield (param.opts if one else param.secondary_opts)[-1]
        else:
            yield from (param.opts[-1], word)


def located(path: str) -> str:
    """A URI as it is; a local path absolute and marked."""
    return (
        path if "://" in path and not path.startswith(LOCAL) else LOCAL + str(Path(path.removeprefix(LOCAL)).absolute())
    )
