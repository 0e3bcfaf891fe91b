"""Show the progress of a long job on stderr: one live line on a terminal, a log line every 30 s elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOG_SECONDS = 30.0
SILENT_SECONDS = 2.0  # before the first count of files


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

    def line(self) -> str:
        parts = [f"{self.pairs}/{self.total_pairs} pairs", f"{self.frames_per_second:.1f} frames/s"]
        if self.eta is not None and self.work < self.total_work:
            parts.append(f"ETA {clock(self.eta)}")
        parts.append(f"{self.failed} failed")
        return " · ".join(parts)


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextlib.contextmanager
def show(title: str) -> Iterator[Callable[[RunProgress], None]]:
    """Yield a callback that shows a `RunProgress` on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(f"{title}: starting") as status:
            yield lambda progress: status.update(f"{title}: {progress.line()}")
    else:
        yield _Log(title)


@contextlib.contextmanager
def show_count(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback that shows on stderr how many of how many files are done, if that takes over SILENT_SECONDS."""
    due, on_terminal, shown = time.monotonic() + SILENT_SECONDS, sys.stderr.isatty(), False

    def update(done: int, total: int) -> None:
        nonlocal due, shown
        now = time.monotonic()
        if now >= due:
            due, shown = now + (0.2 if on_terminal else LOG_SECONDS), True
            text = f"{time.strftime('%H:%M:%S')} {title}: {done:,} of {total:,} ({100 * done // total} %)"
            print(text, end="\r" if on_terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield update
    finally:
        if shown and on_terminal:
            print(file=sys.stderr)  # what follows must not be written over the line


class _Log:
    """Print a line at the first result, one every LOG_SECONDS, and one at the end."""

    def __init__(self, title: str):
        self.title = title
        self.due = 0.0

    def __call__(self, progress: RunProgress) -> None:
        now = time.monotonic()
        if now >= self.due or progress.work >= progress.total_work:
            self.due = now + LOG_SECONDS
            print(f"{time.strftime('%H:%M:%S')} {self.title}: {progress.line()}", file=sys.stderr, flush=True)
