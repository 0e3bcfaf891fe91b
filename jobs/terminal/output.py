"""The one place where text reaches the terminal."""

import click

from pipeline.io import local
from schemas.printable import printable


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with escapes for control characters."""
    click.echo(printable(text), err=err, nl=nl)


def note_temp_folder() -> None:
    """Say where temporary files go if TMPDIR cannot be used. Raises StorageError if no folder can."""
    if unused := local.unused_temp_folder():
        echo(f"TMPDIR={unused} is missing, full or not writable; {local.temp_folder()} is used", err=True)
