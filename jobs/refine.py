"""`rvos refine`: a run whose masks are made of those of another run, by a model that follows objects."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

from jobs.config.refine import RefineConfig
from jobs.config.segment import SegmentConfig
from jobs.dry_run import DryRunResult
from jobs.segment import execute, units_to_do
from jobs.segment_record import record_with
from jobs.segment_result import SegmentResult
from jobs.segment_run import run_folder
from jobs.terminal.progress import RunProgress, show_run
from model.segmenter import CheckpointInfo, Refining
from pipeline.io import storage
from pipeline.io.checkpoint import read_checkpoint_info
from pipeline.runs.refined import RefinedRun
from pipeline.runs.retry import to_retry
from pipeline.runs.run import Run, Unit
from pipeline.runs.run_json import read_run_json
from pipeline.segment.resources import refiner_bytes
from schemas.errors import InputError
from schemas.shown import without_secrets
from schemas.version import MASKS_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class RefineDryRunResult(DryRunResult):
    """The work of `rvos refine`."""

    not_opened: ClassVar[str] = "The videos were not opened."


def run(config: RefineConfig, progress: Callable[[RunProgress], None] = show_run) -> SegmentResult | DryRunResult:
    """Bring the run up to date with its source: every pair ends as masks or as one error row, exactly once.

    Raises InputError for bad input (before anything starts), among it a source that is not finished, and
    InfrastructureError if the cluster gives up. With `dry_run`, all is checked and counted, and nothing written.
    """
    source = Run.open(storage.absolute(config.run))
    if source.folder == storage.absolute(config.out):
        raise InputError(f"{config.out} is the run to refine; write to another folder")
    source.require_finished()
    segment = config.segment(read_run_json(source.folder).get("decides", {}))
    checkpoint = read_checkpoint_info(config.checkpoint, refines=True)
    inputs = fingerprint_inputs(config, segment, source, checkpoint)
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    folder, exists = run_folder(segment, fingerprint, inputs)
    memory = refiner_bytes(checkpoint.short_side, config.window)
    if config.dry_run:
        return _count(segment, source, RefinedRun(folder, fingerprint), exists)

    def prepare(segment: SegmentConfig, invocation: str) -> tuple[Run, list[Unit], list[Unit], int]:
        names = ("run", "out", "checkpoint")
        paths = {name: without_secrets(storage.absolute(getattr(config, name))) for name in names}
        record = record_with({**asdict(config), **paths, "frame_step": segment.frame_step})
        the_run = RefinedRun.of(Run.start(folder, fingerprint, inputs, record, unsafe=config.unsafe_storage), source)
        the_run.copy_plan(source, allow_local=config.allow_local)
        return the_run, *units_to_do(segment, the_run, invocation), memory

    return execute(segment, prepare, progress, Refining(config.prompt, config.fuse))


def fingerprint_inputs(config: RefineConfig, segment: SegmentConfig, source: Run, checkpoint: CheckpointInfo) -> dict:
    """Return all that decides the masks, by name."""
    own = {name: getattr(config, name) for name in ("prompt", "fuse", "window", "precision")}
    frames = {name: getattr(segment, name) for name in ("frame_step", "decoder", "allow_short")}
    model = {"family": checkpoint.family, "weights": checkpoint.digest, "tracking": checkpoint.tracking}
    return {"source": source.fingerprint, "masks_version": MASKS_VERSION, **model, **own, **frames}


def _count(config: SegmentConfig, source: Run, the_run: RefinedRun, exists: bool) -> DryRunResult:
    """Count the work as `jobs.dry_run`."""
    there, committed = the_run.parts(), the_run.committed()
    units = config.share.of(the_run.units() + [unit for unit in source.units() if unit.part not in there])
    todo = [unit for unit in units if unit.unit_id not in committed]
    old = [unit for unit in units if unit.part in there]
    retried = [receipt for _, receipt in to_retry(the_run, old, committed, config.retry_statuses)]
    return RefineDryRunResult(
        run=the_run.folder,
        exists=exists,
        pairs=sum(unit.stop - unit.start for unit in todo),
        units=len(todo),
        frames=sum(unit.pair_frames for unit in todo),
        committed_units=len(units) - len(todo),
        retried_units=len(retried),
        retried_pairs=sum(receipt.failed.get(status, 0) for receipt in retried for status in config.retry_statuses),
        assumed_pairs=0,
        assumed_frames=0,
    )
