"""Sums over the receipts of a run."""

import math
import time
from collections import Counter
from dataclasses import dataclass, field

from pipeline.runs.commit import SECONDS, WAITS, Receipt

ERRORS_SHOWN = 5  # that a summary shows


@dataclass(slots=True)
class RunTotals:
    """Sums over receipts, added as they come; memory hardly grows with their number."""

    failed: Counter[str] = field(default_factory=Counter)  # status -> pairs
    failed_now: Counter[str] = field(default_factory=Counter)  # of `failed`: not in the run that is refined
    errors: list[str] = field(default_factory=list)
    made_with: Counter[str] = field(default_factory=Counter)  # `Receipt.made_with` -> units
    left_out: dict[str, tuple[int, str]] = field(default_factory=dict)  # reason -> how many, and the first place
    noted: set[int] = field(default_factory=set)  # hashes of them: units may share a video
    thin: int = 0  # refined pairs with a mask that is too thin to prompt the model
    first_thin: str = ""
    fresh_pairs: int = 0  # this and all below: of this invocation only
    frames: int = 0
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS + WAITS, 0.0))
    parity: float | None = None
    halvings: int = 0
    started: float = math.inf  # by this process's monotonic clock: clocks of nodes differ and jump
    ended: float = 0.0

    def add(self, receipt: Receipt) -> None:
        self.failed.update(receipt.failed)
        self.failed_now.update(receipt.failed)
        self.failed_now.subtract(receipt.failed_before)
        self.made_with[receipt.made_with or "unknown"] += 1
        self.errors = (self.errors + receipt.errors)[:ERRORS_SHOWN]
        for reason, count, place in receipt.left_out:
            if (entry := hash((reason, place))) not in self.noted:
                self.noted.add(entry)
                before, first = self.left_out.get(reason, (0, place))
                self.left_out[reason] = before + count, min(first, place)
        if receipt.thin:
            self.thin += receipt.thin
            self.first_thin = min(self.first_thin or receipt.first_thin, receipt.first_thin)
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
