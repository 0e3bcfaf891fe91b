"""The one place where text reaches the terminal."""

import errno
import io
import sys
from typing import Any, TextIO

import click

from pipeline.io import local
from schemas.errors import InfrastructureError
from schemas.printable import printable


class UnwrittenError(click.ClickException):
    """Standard output does not take the text: a full disk, for example."""

    exit_code = InfrastructureError.exit_code


class _Output(io.FileIO):
    """Standard output: the first failed write is an UnwrittenError, and later text is dropped."""

    failed = False  # Python writes what is left in its buffer once more when it exits

    def write(self, data: Any, /) -> int:
        try:
            return len(data) if self.failed else super().write(data)
        except OSError as error:
            self.failed = True
            if error.errno == errno.EPIPE:  # the reader has seen enough: click ends quietly
                raise
            raise UnwrittenError(f"standard output cannot be written: {error.strerror}") from None


class _Messages(io.FileIO):
    """Standard error: text that cannot be written is dropped, so that the exit code stays that of the job."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            return len(data)


def guard_streams() -> None:
    """Let full or broken standard streams end in a message or an exit code, not in a traceback."""
    sys.stdout = _through(_Output, sys.stdout)
    sys.stderr = _through(_Messages, sys.stderr)


def _through(file: type[io.FileIO], stream: TextIO | None) -> Any:
    """Return a stream like `stream` that writes through `file`; None, which a closed stream is, stays."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(file(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text, with escapes for control characters. Raises UnwrittenError if standard output is closed."""
    if sys.stdout is None and not err:
        raise UnwrittenError("standard output cannot be written: it is closed")
    click.echo(printable(text), err=err, nl=nl)


def note_temp_folder() -> None:
    """Say where temporary files go if TMPDIR cannot be used. Raises StorageError if no folder can."""
    if unused := local.unused_temp_folder():
        echo(f"TMPDIR={unused} is missing, full or not writable; {local.temp_folder()} is used", err=True)
