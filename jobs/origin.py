"""Say in a page how it came about: the command, the date, and how intervals were computed."""

import shlex
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from jobs.config.options import KEY, Option
from schemas.shown import without_secrets

INTERVALS = "computed from the videos without resampling, so there is neither a seed nor a number of resamples"


def origin_of(command: str, config: Any) -> list[tuple[str, str]]:
    """Return terms and texts about a page that `command`, such as "report", makes with these options."""
    return [
        ("command", without_secrets(shlex.join(_words(command, config)))),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("intervals", INTERVALS),
    ]


def _words(command: str, config: Any) -> list[str]:
    """Return the command as typed, without options that have their default."""
    arguments, options = ["rvos", *command.split()], []
    for item in fields(config):
        declared: Option = item.metadata[KEY]
        value = getattr(config, item.name)
        values = [str(one) for one in (value if isinstance(value, tuple) else (value,))]
        if declared.is_argument:
            arguments += values
        elif value not in (None, item.default):
            flag = declared.flag or f"--{item.name.replace('_', '-')}"
            options += [flag] if value is True else [word for one in values for word in (flag, one)]
    return arguments + options
