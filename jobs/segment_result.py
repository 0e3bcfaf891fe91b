"""What `rvos segment` tells at its end: the receipts of a run summed up."""

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from jobs.terminal.progress import clock
from model.bundled import KNOWS
from pipeline.runs.commit import SECONDS, WAITS, Receipt
from pipeline.segment.bottleneck import Bottleneck

ERRORS_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentResult:
    """What the run holds now, and what this invocation did for it."""

    run: str
    pairs: int
    there_before: int
    failed: dict[str, int]
    errors: list[str]
    frames: int  # pair-frames made by this invocation
    seconds: float  # from the start of the first unit to the last commit
    startup_seconds: float  # all else: reading, planning, starting the actors, summing up
    embedded: bool = False  # whether the masks are of the checkpoint in the box
    stages: dict[str, float] = field(default_factory=dict)  # seconds summed over actors
    bound: Bottleneck | None = None  # None if nothing was made
    parity: float | None = None  # the largest share of pixels that differed from plain float32 in a first unit
    halvings: int = 0  # how often memory was full, and the model was given half as much at once

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def to_json(self) -> dict:
        return {**asdict(self), "ok": self.pairs - sum(self.failed.values())}

    def text(self) -> str:
        bad = sum(self.failed.values())
        classes = ", ".join(f"{status} {count}" for status, count in sorted(self.failed.items()))
        there = f" ({self.there_before} were there before)" if self.there_before else ""
        lines = [
            f"run     {self.run}",
            f"pairs   {self.pairs}: {self.pairs - bad} with masks, {bad} failed{f' ({classes})' if bad else ''}{there}",
        ]
        if self.seconds:
            rate = self.frames / self.seconds
            took = f"{clock(self.seconds)} + {clock(self.startup_seconds)} start-up"
            lines.append(f"frames  {self.frames} masks in {took}: {rate:.1f} frames/s")
            total = sum(self.stages[name] for name in SECONDS) or 1.0
            split = " · ".join(f"{name} {self.stages[name] / total:.0%}" for name in SECONDS)
            lines.append(f"time    {split} (all beside each other)")
        if self.bound:
            lines.append(f"bound   by {self.bound.text}")
        if self.parity is not None:
            lines.append(f"parity  {self.parity:.2%} of the masks' pixels differ from plain fp32 in a first unit")
        if self.halvings:
            lines.append(f"memory  full {self.halvings} times: the model took half as much at once; masks are the same")
        if self.embedded:
            lines.append(f"note    {KNOWS}")
        return "\n".join([*lines, *(f"error   {text}" for text in self.errors)])


@dataclass(slots=True)
class RunTotals:
    """Receipts summed up as they come, in the memory of one."""

    failed: Counter[str] = field(default_factory=Counter)  # status -> pairs
    errors: list[str] = field(default_factory=list)
    fresh_pairs: int = 0  # these and all below: of this invocation only
    frames: int = 0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS + WAITS, 0.0))
    parity: float | None = None
    halvings: int = 0
    started: float = math.inf  # by this process's monotonic clock: those of the nodes differ, and jump
    ended: float = 0.0

    def add(self, receipt: Receipt) -> None:
        self.failed.update(receipt.failed)
        self.errors = (self.errors + receipt.errors)[:ERRORS_SHOWN]
        if receipt.fresh:
            self.fresh_pairs += receipt.pairs - receipt.kept_pairs
            self.frames += receipt.frames - receipt.kept_frames
            self.halvings += receipt.halvings
            if receipt.parity is not None:
                self.parity = max(receipt.parity, self.parity or 0.0)
            self.ended = time.monotonic()
            self.started = min(self.started, self.ended - (receipt.ended - receipt.started))
            for name in self.stages:
                self.stages[name] += receipt.seconds.get(name, 0.0)
