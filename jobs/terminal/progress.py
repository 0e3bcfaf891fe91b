"""Show what a command does on stderr: one live line on a terminal; elsewhere a log line after 1 s and every 30 s.

A terminal that cannot rewrite a line, such as one with TERM=dumb, gets log lines too.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LOG_SECONDS = 30.0
FIRST_SECONDS = 1.0  # until the first log line; a shorter command prints none


class _LogLine:
    """Prints a line after FIRST_SECONDS, with the first news, and whenever LOG_SECONDS have passed without one."""

    def __init__(self, title: str):
        self.title = title
        self.text: object = ""
        self.began = time.monotonic()
        self.due = self.began + FIRST_SECONDS
        self.lock, self.ended = threading.Lock(), threading.Event()
        threading.Thread(target=self._print_when_due, name="progress", daemon=True).start()

    def update(self, text: object, at_once: bool = False) -> None:
        with self.lock:
            is_first = not self.text and time.monotonic() - self.began >= FIRST_SECONDS
            self.text = text
            if at_once or is_first:
                self._print()

    def _print_when_due(self) -> None:
        while not self.ended.wait(max(0.0, self.due - time.monotonic())):
            with self.lock:
                if time.monotonic() >= self.due:
                    self._print()

    def _print(self) -> None:
        self.due = time.monotonic() + LOG_SECONDS
        spent = clock(time.monotonic() - self.began)
        print(
            f"{time.strftime('%H:%M:%S')} {self.title}: {self.text or 'working'} · {spent}", file=sys.stderr, flush=True
        )


def _nothing(text: object, at_once: bool) -> None:
    """Show nothing, outside of a command."""


_update: Callable[[object, bool], None] = _nothing


@contextlib.contextmanager
def live_line(title: str) -> Iterator[None]:
    """Show a line about the command `title` until the block ends; `update` changes it."""
    global _update
    before, terminal = _update, _terminal()
    with _terminal_line(title, terminal) if terminal else _log_lines(title) as _update:
        try:
            yield
        finally:
            _update = before


def _terminal() -> "Console | None":
    """Return the terminal that stderr is, if it can rewrite a line."""
    if not sys.stderr.isatty():
        return None
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_interactive else None


@contextlib.contextmanager
def _terminal_line(title: str, terminal: "Console") -> Iterator[Callable[[object, bool], None]]:
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    # The time stands first: a narrow terminal cuts the end.
    text = TextColumn(
        "{task.description}: {task.fields[text]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")
    )
    columns = SpinnerColumn(), TimeElapsedColumn(Column(no_wrap=True, min_width=7)), text
    with Progress(*columns, console=terminal, transient=True) as line:
        task = line.add_task(title, total=None, text="working")
        yield lambda text, at_once: line.update(task, text=text)


@contextlib.contextmanager
def _log_lines(title: str) -> Iterator[Callable[[object, bool], None]]:
    line = _LogLine(title)
    try:
        yield line.update
    finally:
        line.ended.set()


def update(text: object, *, at_once: bool = False) -> None:
    """Say what the command does now. In a log that is printed when a line is due, or at once.

    Each time `str(text)` is shown, which may change with time.
    """
    _update(text, at_once)


def count(what: str) -> Callable[[int, int], None]:
    """Return a function that says how many of how many `what` are done."""
    return lambda done, total: update(f"{done:,} of {total:,} {what} ({100 * done // max(1, total)} %)")


@dataclass(frozen=True, slots=True)
class RunProgress:
    """State of a run. Remaining time is estimated from `work` and `total_work`, in pair-frames."""

    pairs: int
    total_pairs: int
    work: int
    total_work: int
    frames: int  # masks made since the start
    failed: int
    seconds: float

    @property
    def frames_per_second(self) -> float:
        return self.frames / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta(self) -> float | None:
        """Seconds until the end at the pace so far; None before the first result."""
        return self.seconds * (self.total_work - self.work) / self.work if self.work else None

    def line(self, later: float = 0.0) -> str:
        """Describe the state `later` seconds after it was taken. Without an ETA once that time is over."""
        parts = [f"{self.pairs}/{self.total_pairs} pairs", f"{self.frames_per_second:.1f} frames/s"]
        if self.eta is not None and self.eta > later:
            parts.append(f"ETA {clock(self.eta - later)}")
        parts.append(f"{self.failed} failed")
        return " · ".join(parts)


@dataclass(frozen=True, slots=True)
class _RunLine:
    """The line of a run, in which the ETA counts down."""

    progress: RunProgress
    taken: float  # on the monotonic clock

    def __str__(self) -> str:
        return self.progress.line(time.monotonic() - self.taken)


def show_run(progress: RunProgress) -> None:
    """Show the state of a run, and its end at once."""
    update(_RunLine(progress, time.monotonic()), at_once=progress.work >= progress.total_work)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
