"""`rvos segment`: plan what is new, run the chain over what is not committed yet, sum up."""

import hashlib
import json
import os
import platform
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version

import pyarrow as pa

from jobs import check
from jobs.config.segment import SegmentConfig
from jobs.segment_result import RunTotals, SegmentResult
from jobs.terminal.progress import Progress
from model.bundled import BUNDLED
from model.referformer.checkpoint import CheckpointError, check_checkpoint, weights_digest
from model.referformer.tokenizer import Tokenizer
from pipeline.cluster.session import connect_to_ray
from pipeline.io import storage
from pipeline.io.manifest import manifest_digest, read_manifest
from pipeline.runs.commit import Receipt
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import OtherRunError, Run, Unit
from pipeline.segment.actor import Invocation, ModelOptions, Resources, checkpoint_folder, segment_units
from pipeline.segment.bottleneck import bound
from pipeline.segment.clips import FrameOptions
from schemas.check import Problem, SchemaError
from schemas.errors import InfrastructureError, InputError, without_secrets
from schemas.manifest import MAX_TOKENS
from schemas.version import MASKS_VERSION, __version__

RECORDED_PACKAGES = ("av", "decord", "numpy", "pillow", "pyarrow", "pycocotools", "ray", "torch", "transformers")

RAY_ADVICE = re.compile(r"\s*(To change retry attempts|Failed to apply UDF)")


def run(config: SegmentConfig, progress: Callable[[Progress], None] = lambda _: None) -> SegmentResult:
    """Bring the run up to date with the manifest: every pair ends as masks or as one error row, exactly once.

    Raises InputError for bad input (before anything starts) and InfrastructureError if the cluster gives up; what was
    committed until then stays, and the same command goes on from there.
    """
    assert not config.dry_run, "jobs.dry_run does that"
    started = time.perf_counter()
    invocation = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
    the_run, units, todo = prepare(config)
    doing = {unit.unit_id for unit in todo}
    tally, pool = RunTotals(), Resources()
    if todo:
        storage.remove(the_run.success_uri)
        with connect_to_ray(config.address) as resources:
            pool, threads = _resources(config, resources)
            work = Invocation(invocation=invocation, timeout=config.unit_timeout, again=config.again)
            chain = segment_units(todo, the_run, model_options(config, threads), frame_options(config), pool, work)
            _follow(chain, todo, tally, progress)
    for receipt in the_run.receipts(unit.unit_id for unit in units if unit.unit_id not in doing):
        tally.add(receipt)
    result = _sum_up(config, the_run, units, tally, pool, time.perf_counter() - started)
    the_run.write_log(invocation, result.to_json())
    return result


def frame_options(config: SegmentConfig) -> FrameOptions:
    return FrameOptions(
        window=config.window_frames,
        overlap=config.overlap,
        max_whole_frames=config.max_whole_frames,
        frame_step=config.frame_step,
        decoder=config.decoder,
        allow_short=config.allow_short,
    )


def plan_options(config: SegmentConfig) -> PlanOptions:
    return PlanOptions(frame_step=config.frame_step, unit_frames=config.unit_frames, assume_frames=config.assume_frames)


def model_options(config: SegmentConfig, threads: int | None) -> ModelOptions:
    return ModelOptions(
        checkpoint=BUNDLED if config.embedded else storage.absolute(config.checkpoint),
        device=config.device,
        threads=threads,
        short_side=config.input_side,
        max_size=config.max_size,
        threshold=config.threshold,
        precision=config.precision,
        compiled=config.compile,
    )


def fingerprint_inputs(config: SegmentConfig, weights: str) -> dict:
    """Everything that decides the masks, by name; the fingerprint is its hash."""
    names = ("max_size", "threshold", "frame_step", "decoder", "allow_short", "window")
    options = {"short_side": config.input_side} | {name: getattr(config, name) for name in names}
    if config.window == "whole":
        options["max_whole_frames"] = config.max_whole_frames
    if config.overlap:
        options["overlap"] = config.overlap
    return {"weights": weights, "masks_version": MASKS_VERSION, "precision": config.precision, **options}


def prepare(config: SegmentConfig) -> tuple[Run, list[Unit], list[Unit]]:
    """Check everything, open the run, plan what is new: the run, all its units, and those to do, longest first."""
    the_run = _planned_run(config)
    units, committed = the_run.units(), the_run.committed()
    todo = [unit for unit in units if unit.unit_id not in committed]
    todo += [unit for unit, _ in to_retry(the_run, units, committed, config.again)]
    return the_run, units, sorted(todo, key=lambda unit: -unit.pair_frames)


def to_retry(
    the_run: Run, units: list[Unit], committed: set[str], again: tuple[str, ...]
) -> Iterator[tuple[Unit, Receipt]]:
    """The committed units with pairs that failed in one of these ways, as their next generation."""
    if not again:
        return
    there = [unit for unit in units if unit.unit_id in committed]
    for unit, receipt in zip(there, the_run.receipts(unit.unit_id for unit in there), strict=True):
        if not receipt.failed.keys().isdisjoint(again):
            yield replace(unit, generation=receipt.generation + 1), receipt


def _planned_run(config: SegmentConfig) -> Run:
    """Check everything, then open the run and plan what is new."""
    origin = f"{manifest_digest(config.manifest)} {config.limit}"
    decides, fingerprint, tokenizer = check_model(config)
    folder = run_folder(config, fingerprint, decides)
    known = Run(folder, fingerprint)
    if not config.strict and Run.is_there(folder, fingerprint, decides) and known.is_planned_from(origin):
        return known
    manifest = check_manifest(config, tokenizer)
    the_run = Run.start(folder, fingerprint, decides, _record(config))
    the_run.extend_plan(manifest, config.manifest, plan_options(config), limit=config.limit, origin=origin)
    return the_run


def run_folder(config: SegmentConfig, fingerprint: str, decides: dict) -> str:
    """RUN; or `--new-run`, if that is given and RUN was made otherwise. Raises InputError if neither will do."""
    folder = storage.absolute(config.run)
    try:
        Run.is_there(folder, fingerprint, decides)
    except OtherRunError:
        if config.new_run is None:
            raise
        folder = storage.absolute(config.new_run)
        Run.is_there(folder, fingerprint, decides)
    return folder


def check_model(config: SegmentConfig) -> tuple[dict, str, Tokenizer]:
    """All that decides the masks by name, its fingerprint, and the tokenizer. Raises InputError."""
    with checkpoint_folder(config.checkpoint) as folder:
        try:
            tokenizer = check_checkpoint(folder)
            decides = fingerprint_inputs(config, weights_digest(folder))
        except CheckpointError as error:
            raise InputError(f"--checkpoint {config.checkpoint}: {error}") from None
    return decides, hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32], tokenizer


def check_manifest(config: SegmentConfig, tokenizer: Tokenizer) -> pa.Table:
    """The manifest, with `--strict` all that it leads to checked. Raises InputError."""
    manifest = read_manifest(config.manifest)
    if config.strict:
        _refuse_bad_rows(config, manifest, tokenizer)
    return manifest


def _record(config: SegmentConfig) -> dict:
    """What run.json keeps besides the fingerprint: enough to repeat the run."""
    named = ("manifest", "run") if config.embedded else ("manifest", "run", "checkpoint")
    paths = {name: without_secrets(storage.absolute(getattr(config, name))) for name in named}
    versions = {"python": platform.python_version(), "refervos": __version__}
    return {
        "config": {**asdict(config), **paths},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {name: version(name) for name in RECORDED_PACKAGES},
    }


def _refuse_bad_rows(config: SegmentConfig, manifest: pa.Table, tokenizer: Tokenizer) -> None:
    """What would become error rows, found before the start: all that `rvos check` finds, and sentences too long."""
    found = check.run(check.CheckConfig(manifest=config.manifest)).findings
    problems = [Problem(config.manifest, f.row, f.problem) for f in found if f.status != check.STALE]
    for row, expression in enumerate(manifest["expression"].to_pylist()):
        if expression and len(expression) > MAX_TOKENS // 4 and tokenizer.count(expression) > MAX_TOKENS:
            problems.append(Problem(config.manifest, row, f"the expression has more than {MAX_TOKENS} tokens"))
    if problems:
        raise SchemaError(problems)


def _resources(config: SegmentConfig, resources: Mapping[str, float]) -> tuple[Resources, int | None]:
    """The actor pool for this cluster, and torch threads per actor (None on GPUs).

    On this machine what it has must do; elsewhere nodes may be on their way, so what is asked for is taken.
    """
    gpus, cpus = resources.get("GPU", 0.0), int(resources.get("CPU", 0.0))
    share = config.gpus_per_actor
    if share is None:
        share = 1.0 if config.device == "cuda" or (gpus and config.device != "cpu") else 0.0
    if config.device == "cuda" and not share:
        raise InputError("--device cuda needs a share of a GPU; leave out --gpus-per-actor 0")
    room = int(gpus / share + 1e-6) if share else cpus  # actors that fit in what is there now
    asked = config.pool_size or [max(1, room) if share else 1]
    may_grow = config.address != "local" and config.pool_size
    if asked[0] > room and not may_grow:
        each = f"{share:g} GPUs" if share else "one CPU"
        hint = (
            "" if config.address == "local" else "; if more nodes come when work waits, say how many actors to ask for"
        )
        raise InputError(
            f"--actors {asked[0]} with {each} each, but the cluster at {config.address} has {gpus:g} GPUs and "
            f"{cpus} CPUs{hint}"
        )
    actors = asked[-1] if may_grow else min(asked[-1], room)
    threads = None if share else max(1, min(cpus, os.cpu_count() or 1) // actors)
    return Resources(actors=actors, least=asked[0], gpus_per_actor=share), threads


def _follow(chain: Iterable[Receipt], todo: list[Unit], tally: RunTotals, progress: Callable[[Progress], None]) -> None:
    planned = {unit.unit_id: unit.pair_frames for unit in todo}
    total_pairs, total_work = sum(unit.stop - unit.start for unit in todo), sum(planned.values())
    units = pairs = work = 0
    try:
        for receipt in chain:
            tally.add(receipt)
            units, pairs, work = units + 1, pairs + receipt.pairs, work + planned[receipt.unit_id]
            progress(
                Progress(
                    pairs=pairs,
                    total_pairs=total_pairs,
                    work=work,
                    total_work=total_work,
                    frames=tally.frames,
                    failed=sum(tally.failed.values()),
                    seconds=max(0.0, time.monotonic() - tally.started),
                )
            )
    except (InputError, InfrastructureError) as error:
        cause = getattr(error, "cause", error)  # without the pages of a worker that Ray wraps it in
        cause.args = ("\n".join(line for line in str(cause).splitlines() if not RAY_ADVICE.match(line)),)
        raise cause from None
    except Exception as error:  # whatever a worker or Ray itself raised
        raise InfrastructureError(
            f"the cluster gave up after {units} of {len(todo)} units: {_cause(error)}\n"
            "What is committed is kept; repeat the command to go on."
        ) from error


def _cause(error: BaseException) -> str:
    """The last line of what went wrong at the root; Ray wraps it in pages, and puts advice on itself behind."""
    cause = getattr(error, "cause", None) or error.__cause__ or error
    if not str(cause).strip():  # Ray's SystemException says nothing, and what carries it does
        cause = error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip() and not RAY_ADVICE.match(line)]
    ours = [line for line in lines if line.startswith("schemas.errors.")]
    if ours:
        return ours[-1].partition(": ")[2]
    return f"{type(cause).__name__}: {lines[-1]}" if lines else type(cause).__name__


def _sum_up(
    config: SegmentConfig, the_run: Run, units: list[Unit], tally: RunTotals, pool: Resources, wall_seconds: float
) -> SegmentResult:
    lost = {unit.unit_id for unit in units} - the_run.committed()
    if lost:
        raise InfrastructureError(f"{len(lost)} units are not in {the_run.folder}; repeat the command to make them")
    seconds = max(0.0, tally.ended - tally.started)
    pairs = sum(unit.stop - unit.start for unit in units)
    return SegmentResult(
        run=the_run.folder,
        pairs=pairs,
        there_before=pairs - tally.fresh_pairs,
        failed=dict(tally.failed),
        errors=tally.errors,
        frames=tally.frames,
        seconds=round(seconds, 3),
        startup_seconds=round(wall_seconds - seconds, 3),
        embedded=config.embedded,
        stages={name: round(value, 3) for name, value in tally.stages.items()},
        parity=tally.parity,
        halvings=tally.halvings,
        bound=bound(tally.stages, seconds, pool.actors, pool.gpus_per_actor > 0) if seconds else None,
    )
