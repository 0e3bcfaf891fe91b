"""`rvos segment --dry-run`: run all checks and count the work, without writing anything."""

from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc

from jobs.config.segment import SegmentConfig
from jobs.result import JobResult
from jobs.segment import check_manifest, check_model, say_which_model
from jobs.segment_options import plan_options
from jobs.segment_run import as_planned, find_run
from jobs.sentences import sentence_note
from pipeline.runs.plan import PlanSize, plan_part
from pipeline.runs.retry import to_retry
from schemas.printable import counted


@dataclass(frozen=True, kw_only=True, slots=True)
class DryRunResult(JobResult):
    """The work of `rvos segment`, or of one --shard of it.

    `pairs`, `units` and `frames` (masks) count what is not committed yet.
    """

    run: str
    exists: bool
    pairs: int
    units: int
    frames: int
    committed_units: int
    retried_units: int  # committed units with error rows to retry
    retried_pairs: int
    assumed_pairs: int  # new pairs without a known number of frames
    assumed_frames: int  # for each of them
    note: str | None = None  # on sentences of the manifest that the model may not take in
    not_opened: ClassVar[str] = "Only --strict opens the videos."

    def text(self) -> str:
        work = f"{counted(self.pairs, 'pair')} in {counted(self.units, 'unit')}"
        lines = [
            f"run     {self.run} ({'resumes' if self.exists else 'would be new'})",
            f"to do   {work}, about {counted(self.frames, 'mask')}",
        ]
        if self.committed_units:
            lines.append(f"done    {counted(self.committed_units, 'committed unit')}")
        if self.retried_units:
            lines.append(f"again   {counted(self.retried_pairs, 'failed pair')} in {self.retried_units} of these units")
        if self.assumed_pairs:
            lines.append(f"note    {assumption(self.assumed_pairs, self.assumed_frames)}")
        if self.note:
            lines.append(f"note    {self.note}")
        return "\n".join([*lines, f"All checks passed, and nothing was written. {self.not_opened}"])


def assumption(pairs: int, frames: int, source: str = "") -> str:
    """A note on a count of frames that includes `pairs` pairs of unknown length. `source`: of the number `frames`."""
    return (
        f"no num_frames for {counted(pairs, 'pair')}, {frames}{source} are assumed; run 'rvos check --write' to add it"
    )


def run(config: SegmentConfig) -> DryRunResult:
    """Raises InputError for whatever `rvos segment` rejects before it starts."""
    inputs, fingerprint, checkpoint = check_model(config)
    manifest = check_manifest(config, checkpoint)
    say_which_model(config)
    the_run, exists = find_run(config, fingerprint, inputs)
    manifest = as_planned(config, the_run, manifest)
    rows = the_run.new_rows(manifest, config.manifest, plan_options(config), config.limit)
    new, planned, committed = PlanSize(), the_run.units(), the_run.committed()
    if rows.num_rows:
        part = plan_part(rows, the_run.fingerprint, plan_options(config))
        if ids := config.share.of(pc.unique(part["unit_id"]).to_pylist(), before=len(planned)):
            new = PlanSize.of(part.filter(pc.is_in(part["unit_id"], pa.array(ids))))
    planned = config.share.of(planned)
    open_units = [unit for unit in planned if unit.unit_id not in committed]
    retried = [receipt for _, receipt in to_retry(the_run, planned, committed, config.retry_statuses)]
    return DryRunResult(
        run=the_run.folder,
        exists=exists,
        pairs=new.pairs + sum(unit.stop - unit.start for unit in open_units),
        units=new.units + len(open_units),
        frames=new.pair_frames + sum(unit.pair_frames for unit in open_units),
        committed_units=len(planned) - len(open_units),
        retried_units=len(retried),
        retried_pairs=sum(receipt.failed.get(status, 0) for receipt in retried for status in config.retry_statuses),
        assumed_pairs=new.assumed_pairs,
        assumed_frames=plan_options(config).assume_frames,
        note=sentence_note(checkpoint.family, manifest["expression"]),
    )
