"""How a long job shows that it lives: one live line on a terminal, sober log lines elsewhere. Always on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOG_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands. `work` of `total_work` is in pair-frames, what remaining time goes by."""

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
        """Seconds still to go at the pace so far; None before there is one."""
        return self.seconds * (self.total_work - self.work) / self.work if self.work else None

    def line(self) -> str:
        parts = [f"{self.pairs}/{self.total_pairs} pairs", f"{self.frames_per_second:.1f} frames/s"]
        if self.eta is not None and self.work < self.total_work:
            parts.append(f"ETA {clock(self.eta)}")
        parts.append(f"{self.failed} failed")
        return " · ".join(parts)


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


@contextlib.contextmanager
def show(title: str) -> Iterator[Callable[[Progress], None]]:
    """A callback for `Progress` that shows it on stderr, in the way that suits what stderr is."""
    if sys.stderr.isatty():
        from rich.console import Console

        with Console(stderr=True).status(f"{title}: starting") as status:
            yield lambda progress: status.update(f"{title}: {progress.line()}")
    else:
        yield _Log(title)


class _Log:
    """A line at the first result, then one every LOG_SECONDS, and one at the end."""

    def __init__(self, title: str):
        self.title = title
        self.due = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now >= self.due or progress.work >= progress.total_work:
            self.due = now + LOG_SECONDS
            print(f"{time.strftime('%H:%M:%S')} {self.title}: {progress.line()}", file=sys.stderr, flush=True)
