"""The result of `rvos segment`."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Self

from jobs.result import JobResult, Skipped, error_lines
from jobs.terminal.progress import clock
from pipeline.runs.commit import SECONDS, mixed_text
from pipeline.runs.run import Run
from pipeline.segment.bottleneck import Bottleneck
from schemas.printable import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardResult:
    """The run around a shard: its pairs, and those of other shards that are not segmented yet."""

    name: str  # I/N
    run_pairs: int
    left_pairs: int
    left_units: int

    @classmethod
    def of(cls, name: str, run: Run, committed: Collection[str]) -> Self:
        """Count in the plan as it is now: another shard may have extended it. `committed`: units, listed just now."""
        units = run.units()
        left = [unit.stop - unit.start for unit in units if unit.unit_id not in committed]
        pairs = sum(unit.stop - unit.start for unit in units)
        return cls(name=name, run_pairs=pairs, left_pairs=sum(left), left_units=len(left))

    def line(self, run: str, pairs: int) -> str:
        part = f"shard   {self.name}: {pairs} of the {self.run_pairs} pairs of the run"
        if self.left_units:
            left = f"{counted(self.left_pairs, 'pair')} in {counted(self.left_units, 'unit')}"
            return f"{part}; open in other shards: {left}"
        return f"{part}; the run is complete: 'rvos audit {run}' checks it"


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentResult(JobResult):
    """The content of the run, or of one shard of it, and the work of this invocation."""

    run: str
    pairs: int
    there_before: int
    failed: dict[str, int]
    errors: list[str]
    skipped: tuple[Skipped, ...]  # parts of its videos that are not decoded
    made_with: dict[str, int]  # versions and device -> units
    frames: int  # pair-frames made by this invocation
    seconds: float  # from the start of the first unit to the last commit
    startup_seconds: float  # the rest: reading, planning, starting actors, summing up
    is_bundled: bool = False  # True: masks of the bundled checkpoint
    rules: str | None = None  # published rules of inference
    differences: dict[str, dict] = field(default_factory=dict)  # options that differ from them
    stages: dict[str, float] = field(default_factory=dict)  # seconds summed over actors
    bound: Bottleneck | None = None  # None if no unit was made
    parity: float | None = None  # largest share of mask pixels of a first unit that differ from plain float32
    halvings: int = 0  # how often memory was full, so that the model took half as much at once
    thin: int | None = None  # refined pairs whose prompt vanished at the model's resolution; None: nothing is refined
    first_thin: str = ""
    note: str | None = None  # on sentences that the model may not take in
    shard: ShardResult | None = None  # with --shard; then all counts are those of the shard

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def to_json(self) -> dict:
        values = {**asdict(self), "ok": self.pairs - sum(self.failed.values())}
        absent = {"rules", "differences"} if not self.rules else set[str]()
        absent |= {name for name in ("note", "shard", "thin") if values[name] is None}
        absent |= set() if self.thin else {"first_thin"}
        return {name: value for name, value in values.items() if name not in absent}

    def text(self) -> str:
        bad = sum(self.failed.values())
        classes = ", ".join(f"{status} {count}" for status, count in sorted(self.failed.items()))
        before = f" ({self.there_before} were there before)" if self.there_before else ""
        failed = f"{bad} failed ({classes})" if bad else "0 failed"
        lines = [f"run     {self.run}", f"pairs   {self.pairs}: {self.pairs - bad} with masks, {failed}{before}"]
        if self.shard:
            lines.append(self.shard.line(self.run, self.pairs))
        if self.rules:
            others = (f"{name} {values['run']} ({values['published']})" for name, values in self.differences.items())
            differences = f"; differences (published): {', '.join(others)}" if self.differences else ", as published"
            lines.append(f"rules   {self.rules}{differences}")
        if self.seconds:
            rate = self.frames / self.seconds
            took = f"{clock(self.seconds)} + {clock(self.startup_seconds)} start-up"
            lines.append(f"frames  {counted(self.frames, 'mask')} in {took}: {rate:.1f} frames/s")
            total = sum(self.stages[name] for name in SECONDS) or 1.0
            split = " · ".join(f"{name} {self.stages[name] / total:.0%}" for name in SECONDS)
            lines.append(f"time    {split} (in parallel)")
        if self.bound:
            lines.append(f"bound   by {self.bound.text}")
        if self.parity is not None:
            lines.append(f"parity  {self.parity:.2%} of the masks' pixels differ from plain fp32 in a first unit")
        if self.halvings:
            lines.append(
                f"memory  full {counted(self.halvings, 'time')}: the model took half as much at once; masks are the "
                "same"
            )
        if self.thin:
            lines.append(
                f"thin    {counted(self.thin, 'pair')}: the mask that prompts vanishes at the model's resolution "
                f"(first: {self.first_thin}); its frame is as in RUN, others may be empty"
            )
        if self.note:
            lines.append(f"note    {self.note}")
        if len(self.made_with) > 1:
            lines.append(f"mixed   {mixed_text(self.made_with)}")
        lines += [one.line() for one in self.skipped]
        return "\n".join([*lines, *error_lines(self.errors, bad)])
