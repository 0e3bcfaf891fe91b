"""Say in a page how it came about: the command, the date, and how intervals were computed."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from jobs.terminal.command_line import typed_command
from schemas.shown import without_secrets

INTERVALS = "computed from the videos without resampling, so there is neither a seed nor a number of resamples"


def origin_of(command: str, config: Any) -> list[tuple[str, str]]:
    """Return terms and texts about a page that `command`, such as "report", makes with these options."""
    options = {each.name: value for each in fields(config) if (value := getattr(config, each.name)) != each.default}
    return [
        ("command", without_secrets(typed_command(command, type(config), options))),
        ("date", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")),
        ("intervals", INTERVALS),
    ]
