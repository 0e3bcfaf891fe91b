"""The one place where text reaches the terminal."""

import click

from schemas.printable import printable


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with escapes for control characters."""
    click.echo(printable(text), err=err, nl=nl)
