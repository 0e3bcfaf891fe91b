"""`rvos segment --dry-run`: all the checks of a start, and what there would be to do. Nothing is written."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

from jobs.segment import SegmentConfig, check_inputs
from pipeline import storage
from pipeline.runs.plan import ASSUMED_FRAMES, Extent, plan_part
from pipeline.runs.run import Run


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRunResult:
    """What `rvos segment` would do. `pairs`, `units` and `frames` (masks) count what is not committed yet."""

    run: str
    exists: bool
    pairs: int
    units: int
    frames: int
    committed_units: int
    assumed_pairs: int  # new pairs whose number of frames is not known before decoding

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"run     {self.run} ({'goes on' if self.exists else 'would be new'})",
            f"to do   {self.pairs} pairs in {self.units} units, about {self.frames} masks",
        ]
        if self.committed_units:
            lines.append(f"done    {self.committed_units} units are committed")
        if self.assumed_pairs:
            lines.append(f"note    {assumption(self.assumed_pairs)}")
        return "\n".join(
            [*lines, "Nothing would be refused, and nothing was written. Videos are opened by --strict only."]
        )


def assumption(pairs: int) -> str:
    """What a count of frames rests on, where `pairs` pairs do not say theirs."""
    return f"{pairs} pairs have no num_frames, {ASSUMED_FRAMES} are assumed; 'rvos check --write' adds it"


def run(config: SegmentConfig, progress: Callable | None = None) -> DryRunResult:
    """Raises InputError for everything that `rvos segment` would refuse before it starts."""
    manifest, decides, fingerprint = check_inputs(config)
    folder = storage.absolute(config.run)
    exists = Run.is_there(folder, fingerprint, decides)
    the_run = Run(folder, fingerprint)
    rows = the_run.new_rows(manifest, config.manifest, config.limit)
    new = Extent()
    if rows.num_rows:
        new = Extent.of(plan_part(rows, fingerprint, frame_step=config.frame_step, unit_frames=config.unit_frames))
    planned, committed = the_run.units(), the_run.committed()
    open_units = [unit for unit in planned if unit.unit_id not in committed]
    return DryRunResult(
        run=folder,
        exists=exists,
        pairs=new.pairs + sum(unit.stop - unit.start for unit in open_units),
        units=new.units + len(open_units),
        frames=new.pair_frames + sum(unit.pair_frames for unit in open_units),
        committed_units=len(planned) - len(open_units),
        assumed_pairs=new.assumed_pairs,
    )
