"""The pairs and the model that `rvos plan` estimates.

They are those of `rvos segment` for a manifest, and those of `rvos refine` for a run.
"""

from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from jobs.config.media_options import MediaOptions
from jobs.config.plan import PlanConfig
from jobs.config.refine import RefineConfig
from jobs.config.run_options import RunOptions
from jobs.config.segment import SegmentConfig
from jobs.segment import check_manifest, check_model, say_which_model
from jobs.segment_options import memory_of_actor, plan_options
from model.segmenter import CheckpointInfo, Refining
from pipeline.io import storage
from pipeline.io.checkpoint import read_checkpoint_info
from pipeline.io.manifest import with_absolute_uris
from pipeline.runs.moved import with_present_uris
from pipeline.runs.plan import limited_rows, plan_part
from pipeline.runs.run import Run
from pipeline.runs.run_json import is_run, read_run_json
from pipeline.segment.resources import refiner_bytes
from schemas.errors import InputError

# The options of `rvos plan` that `rvos refine` has too.
OF_REFINE = {"checkpoint", "precision", "window", "device", *(field.name for field in fields(MediaOptions))}


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedWork:
    """Pairs, and the model for them."""

    segment: SegmentConfig
    part: pa.Table  # rows of a plan, in the order of their units
    checkpoint: CheckpointInfo
    memory: int  # bytes that an actor on a CPU needs
    refining: Refining | None = None  # for a model that refines masks

    @property
    def follows(self) -> bool:
        """True if the model follows objects from frame to frame."""
        return self.refining is not None or self.checkpoint.lookahead is not None


def planned_work(config: PlanConfig) -> PlannedWork:
    """Return the work to estimate. Raises InputError for whatever the command itself rejects."""
    if is_run(config.manifest):
        return _refinement(config)
    segment = config.segment()
    try:
        _, fingerprint, checkpoint = check_model(segment)
    except InputError:
        # A folder of SAM 2 is right for a run, which may have another name.
        uri = storage.absolute(config.manifest)
        if not storage.exists(uri) and not storage.is_folder(uri):
            raise InputError(f"no manifest and no run at {uri}; correct the path") from None
        raise
    manifest = check_manifest(segment, checkpoint)
    say_which_model(segment)
    rows = limited_rows(manifest, config.limit, None, plan_options(segment))
    part = plan_part(rows, fingerprint, plan_options(segment))
    return PlannedWork(segment=segment, part=part, checkpoint=checkpoint, memory=memory_of_actor(segment, checkpoint))


def _refinement(config: PlanConfig) -> PlannedWork:
    source = Run.open(storage.absolute(config.manifest))
    for field in fields(RunOptions):
        if field.name not in OF_REFINE and getattr(config, field.name) != field.default:
            flag = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{config.manifest} is a run, and 'rvos refine' has no {flag}; leave it out")
    if config.checkpoint is None:
        raise InputError(
            f"--checkpoint is missing: {config.manifest} is a run, which a folder of SAM 2 or SAM 3 refines"
        )
    if config.precision == "fp16" or config.window == "whole":
        raise InputError("'rvos refine' takes --precision fp32 or bf16, and a number of frames as --window")
    same: dict[str, Any] = {name: getattr(config, name) for name in OF_REFINE}
    if config.window is None:
        del same["window"]
    else:
        same["window"] = int(config.window)
    refine = RefineConfig(run=config.manifest, out="", **same)
    checkpoint = read_checkpoint_info(config.checkpoint, refines=True)
    parts = [source.read_part(part) for part in source.parts()]
    if not parts:
        raise InputError(f"{config.manifest} has no plan; repeat the command that began it")
    part = with_present_uris(pa.concat_tables(parts, promote_options="default"), source.folder)
    return PlannedWork(
        segment=refine.segment(read_run_json(source.folder).get("decides", {})),
        part=with_absolute_uris(part, source.folder, allow_local=config.allow_local),
        checkpoint=checkpoint,
        memory=refiner_bytes(checkpoint.short_side, refine.window),
        refining=Refining(refine.prompt, refine.fuse),
    )
