"""`rvos status`: report the progress of a run, from its folder alone, on any machine that can read it."""

import math
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace

from jobs.config.status import StatusConfig
from jobs.result import JobResult
from jobs.terminal.progress import clock, update
from pipeline.io import storage
from pipeline.runs.commit import Receipt
from pipeline.runs.log import latest_state
from pipeline.runs.receipts import receipts_of
from pipeline.runs.run import Run
from schemas.errors import InputError
from schemas.printable import counted

FINISHED = ("done", "audited")  # states
RECENT_UNITS = 50  # the pace is computed from this many of the latest units
STARTING_SECONDS = 60.0  # that a command may take to its first record in the run
QUIET_UNITS = 5  # times the longest recent unit; without a commit for so long, the run counts as stopped


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusResult(JobResult):
    """Counts of pairs and units; `frames_per_second` and `eta` are None until two units are committed.

    `eta` is also None while nobody works on the run.
    """

    run: str
    state: str  # planned, running, interrupted, failed, stopped, done or audited
    pairs: int
    pairs_done: int
    failed: dict[str, int]
    units: int
    units_done: int
    frames: int
    frames_per_second: float | None
    eta: float | None  # seconds
    last_commit: float | None  # seconds ago
    unplanned: int = 0  # committed units that are not in the plan
    watched: bool = False  # to the end of all commands on the run

    @property
    def exit_code(self) -> int:
        return 1 if self.watched and self.state not in FINISHED else 0

    def to_json(self) -> dict:
        values = asdict(self)
        del values["watched"]
        return values

    def line(self) -> str:
        """Return the progress in one line."""
        parts = [self.state, f"{self.pairs_done}/{self.pairs} pairs"]
        if self.eta is not None and self.frames_per_second is not None:
            parts += [f"{self.frames_per_second:.1f} frames/s", f"ETA {clock(self.eta)}"]
        return " · ".join([*parts, f"{sum(self.failed.values())} failed"])

    def text(self) -> str:
        classes = ", ".join(f"{status} {count}" for status, count in sorted(self.failed.items()))
        failed = f"{sum(self.failed.values())} failed{f' ({classes})' if classes else ''}"
        lines = [
            f"run     {self.run}: {self.state}",
            f"pairs   {self.pairs_done} of {self.pairs}, {failed}",
            f"units   {self.units_done} of {self.units}, {counted(self.frames, 'mask')}",
        ]
        if self.last_commit is not None:
            lines.append(f"last    {clock(self.last_commit)} ago")
        if self.eta is not None and self.frames_per_second is not None:
            lines.append(f"pace    {self.frames_per_second:.1f} frames/s, ETA {clock(self.eta)}")
        if self.unplanned:
            lines.append(f"note    {self.unplanned} committed units are not in the plan; run 'rvos audit {self.run}'")
        return "\n".join(lines)


def run(config: StatusConfig) -> StatusResult:
    """Read the plan and the receipts of all committed units; with --watch, again and again until the run ends.

    Raises InputError if the folder is not a run, or its plan is damaged.
    """
    the_run = Run.open(storage.absolute(config.run))
    result = _look(the_run, {})
    if not config.watch:
        return result
    receipts: dict[str, Receipt] = {}
    ended: float | None = None  # since when no command works on the run
    while result.state not in FINISHED:
        ended = (ended or time.monotonic()) if latest_state(the_run) not in (None, "running") else None
        line = result.line()
        if ended:
            left = ended + STARTING_SECONDS - time.monotonic()
            if left <= 0:
                break
            line += f" · waiting {clock(left)} for a command that resumes it"
        update(line, at_once=True)
        time.sleep(config.interval)
        result = _look(the_run, receipts)
    return replace(_look(the_run, {}), watched=True)  # all again: units may have been replaced meanwhile


def _look(the_run: Run, receipts: dict[str, Receipt]) -> StatusResult:
    """Add up the receipts of committed units; those that `receipts` lacks are read into it."""
    there = the_run.committed()  # before the plan, which may grow meanwhile
    units = {unit.unit_id: unit for unit in the_run.units()}
    if there and not units:
        raise InputError(f"{the_run.folder} has {counted(len(there), 'committed unit')} but no plan; run 'rvos audit'")
    committed = sorted(there & units.keys())
    fresh = [unit_id for unit_id in committed if unit_id not in receipts]
    receipts |= zip(fresh, receipts_of(the_run, fresh), strict=True)
    failed: Counter[str] = Counter()
    pairs_done = frames = generations = 0
    done: list[tuple[float, float, int, int]] = []  # ended, started, frames, planned pair-frames
    for unit_id in committed:
        receipt = receipts[unit_id]
        failed.update(receipt.failed)
        pairs_done += receipt.pairs
        frames += receipt.frames
        generations += receipt.generation
        done.append((receipt.ended, receipt.started, receipt.frames, units[unit_id].pair_frames))
    now = time.time()
    left = sum(unit.pair_frames for unit in units.values()) - sum(planned for *_, planned in done)
    recent = sorted(done)[-RECENT_UNITS:]
    rate, eta = _pace(recent, left)
    finished = len(committed) == len(units)
    audited = finished and the_run.is_sealed(generations)
    state = "audited" if audited else "done" if finished else _state(recent, now, latest_state(the_run))
    return StatusResult(
        run=the_run.folder,
        state=state,
        pairs=sum(unit.stop - unit.start for unit in units.values()),
        pairs_done=pairs_done,
        failed=dict(failed),
        unplanned=len(there - units.keys()),
        units=len(units),
        units_done=len(committed),
        frames=frames,
        frames_per_second=None if finished else rate,
        eta=eta if state == "running" else None,
        last_commit=max(0.0, now - recent[-1][0]) if recent else None,  # the clocks of two machines may differ
    )


def _pace(recent: list[tuple[float, float, int, int]], left: int) -> tuple[float | None, float | None]:
    """Return frames/s, and the seconds for the `left` planned pair-frames, at the pace of these units.

    Time without any unit in progress does not count, such as a night without a cluster.
    """
    if len(recent) < 2:
        return None, None
    seconds, last = 0.0, -math.inf
    for started, ended in sorted((started, ended) for ended, started, *_ in recent):
        seconds += max(0.0, ended - max(started, last))
        last = max(last, ended)
    planned = sum(unit[3] for unit in recent)
    if seconds <= 0:
        return None, None
    return sum(unit[2] for unit in recent) / seconds, left * seconds / planned


def _state(recent: list[tuple[float, float, int, int]], now: float, latest: str | None) -> str:
    """Return the state of an unfinished run.

    latest: of its invocations. If one may be at work, the age of the last commit decides: it may have been killed.
    """
    if latest in ("interrupted", "failed", "stopped"):
        return latest
    if not recent:
        return "planned"
    longest = max(ended - started for ended, started, *_ in recent)
    is_at_work = latest != "done" and now - recent[-1][0] <= QUIET_UNITS * max(longest, 10.0)
    return "running" if is_at_work else "stopped"
