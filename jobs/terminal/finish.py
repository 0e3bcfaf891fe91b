"""Run the command of `--on-finish` when a job has ended, however that came."""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator

import click

from jobs.terminal.output import echo
from pipeline.io import storage
from schemas.errors import InputError
from schemas.shown import without_secrets
from schemas.uri import parse

_noted: dict[str, str] = {}


def on_finish(command: str, job: str, out: str) -> contextlib.AbstractContextManager[None]:
    """Return a block after which `command` runs, with RVOS_COMMAND (`job`), RVOS_OUT (`out`) and RVOS_EXIT_CODE.

    The block ends with SystemExit or a click error. A command that fails is reported on stderr; the exit code stays.
    RVOS_OUT is another folder if the job calls `note_out`. The command is started without a shell. Raises InputError if
    the program does not exist.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputError(f"--on-finish {command!r} cannot be divided into words: {error}") from None
    if not words or shutil.which(words[0]) is None:
        raise InputError(f"--on-finish {command!r}: there is no program {words[0] if words else ''!r} on this machine")
    return _finishing(words, {"RVOS_COMMAND": job, "RVOS_OUT": storage.absolute(parse(out))})


def note_out(folder: str) -> None:
    """Note the folder that a job writes to, where it is not the one that its argument names (`--new-run`)."""
    _noted["RVOS_OUT"] = folder


@contextlib.contextmanager
def _finishing(words: list[str], variables: dict[str, str]) -> Iterator[None]:
    code = 1  # an unexpected error
    _noted.clear()
    try:
        yield
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    except click.ClickException as error:
        error.show()  # before what the command prints
        code = error.exit_code
        raise click.exceptions.Exit(code) from None
    finally:
        _call(words, variables | _noted | {"RVOS_EXIT_CODE": str(code)})


def _call(words: list[str], variables: dict[str, str]) -> None:
    sys.stdout.flush()
    try:
        code = subprocess.run(words, env=os.environ | variables, stdin=subprocess.DEVNULL, stdout=2).returncode
        problem = f"ended with exit code {code}" if code else ""
    except (OSError, KeyboardInterrupt) as error:
        problem = str(error) or "was interrupted"
    if problem:
        echo(without_secrets(f"--on-finish: {shlex.join(words)} {problem}"), err=True)
