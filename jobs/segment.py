"""`rvos segment`: plan new rows, run the chain over units that are not committed, sum up."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc

from jobs import check
from jobs.config.run_options import NO_CHECKPOINT
from jobs.config.segment import SegmentConfig
from jobs.result import skipped_of
from jobs.segment_family import require_supported
from jobs.segment_options import (
    fingerprint_inputs,
    follower_inputs,
    frame_options,
    memory_of_actor,
    model_options,
    plan_options,
)
from jobs.segment_record import record_of
from jobs.segment_result import SegmentResult, ShardResult
from jobs.segment_run import as_moved, as_planned, find_run, ignored_columns
from jobs.sentences import note_of
from jobs.terminal.output import echo
from jobs.terminal.progress import RunProgress, clock, show_run, update
from model.bundled import BUNDLED, NOTE
from model.segmenter import CheckpointInfo, Refining
from pipeline.cluster.errors import describe_cause, find_own_error
from pipeline.cluster.session import connect_to_ray
from pipeline.io import storage
from pipeline.io.checkpoint import read_checkpoint_info
from pipeline.io.manifest import manifest_digest, read_manifest
from pipeline.runs.attempts import STARTING, sweep
from pipeline.runs.commit import Receipt
from pipeline.runs.log import invocation_log
from pipeline.runs.moved import note_moved_videos
from pipeline.runs.receipts import ReceiptNotes, receipts_of
from pipeline.runs.retry import to_repair, to_retry
from pipeline.runs.run import Run, Unit
from pipeline.segment.actor import Invocation
from pipeline.segment.bottleneck import find_bottleneck
from pipeline.segment.clips import require_context
from pipeline.segment.exclusive_masks import require_groups
from pipeline.segment.patience import what_is_waited_for, with_patience
from pipeline.segment.resources import Resources, choose_resources
from pipeline.segment.totals import RunTotals
from pipeline.segment.turns import segment_units
from schemas import access
from schemas.check import Problem, SchemaError
from schemas.errors import InfrastructureError, InputError
from schemas.printable import counted
from schemas.shown import shown
from schemas.uri import SCHEMES, scheme_of

UNITS_OF_RUN = "those of RUN, set by 'rvos segment --unit-frames'"  # where masks are refined
MOST_FAILURES_AT_START = 10  # pairs that may fail so before any pair is segmented
FAILURES_AT_START = {  # status -> what happened to the pairs, and what may be the cause
    "crash": ("ended their process", "the machine or the program"),
    "nan": ("had output that is not finite", "the device"),
}


def run(config: SegmentConfig, progress: Callable[[RunProgress], None] = show_run) -> SegmentResult:
    """Bring the run up to date with the manifest: every pair ends as masks or as one error row, exactly once.

    Raises InputError for bad input (before anything starts) and InfrastructureError if the cluster gives up. Committed
    units are kept, and the same command resumes the run.
    """
    assert not config.dry_run, "use jobs.dry_run"
    return execute(config, prepare, progress)


def execute(
    config: SegmentConfig,
    prepare: Callable[[SegmentConfig, str], tuple[Run, list[Unit], list[Unit], int]],
    progress: Callable[[RunProgress], None],
    refining: Refining | None = None,
) -> SegmentResult:
    """Segment the units to do of the run that `prepare` returns, and sum up. Raises as `run`.

    refining: for a model that refines masks.
    """
    started = time.perf_counter()
    invocation = Invocation(
        name=f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
        timeout=config.unit_timeout,
        retry_statuses=config.retry_statuses,
        allowed=tuple(sorted(access.allowed())),
    )
    the_run, units, todo, memory = prepare(config, invocation.name)
    record = {"command": asdict(invocation), "otherwise": the_run.otherwise, "units": len(todo)}
    with invocation_log(the_run, invocation.name, record) as log, ReceiptNotes(the_run, invocation.name) as notes:
        totals, pool = RunTotals(), Resources()
        if todo:
            storage.remove(the_run.success_uri)
            update("starting Ray")
            with connect_to_ray(config.address) as cluster:
                pool, threads = choose_resources(
                    cluster,
                    config.address,
                    config.device,
                    config.pool_size,
                    config.gpus_per_actor,
                    units=len(todo),
                    masks=sum(unit.pair_frames for unit in todo),
                    bytes_per_actor=memory,
                )
                model = replace(model_options(config, threads), refining=refining)
                frames = frame_options(config)
                report = partial(echo, err=True)
                over = partial(_say_what_is_waited_for, the_run, invocation.name, pool, config.address)
                update("loading the model")
                with closing(segment_units(todo, the_run, model, frames, pool, invocation, report)) as receipts:
                    # Pairs that are retried for `nan` fail so again where the video is at fault, which ends nothing.
                    fatal = ["crash"] if "nan" in config.retry_statuses else [*FAILURES_AT_START]
                    _follow(with_patience(receipts, config.patience, over), todo, totals, notes, progress, fatal)
                update("ending Ray")
        _add_earlier(the_run, units, todo, totals, notes)
        unit_frames = UNITS_OF_RUN if refining else "--unit-frames"
        result = _sum_up(config, the_run, units, totals, pool, time.perf_counter() - started, unit_frames)
        if refining:
            result = replace(result, thin=totals.thin, first_thin=totals.first_thin)
        else:
            result = replace(result, note=note_of(the_run))
        the_run.sweep()
        starts = set() if result.shard and result.shard.left_units else {STARTING}  # other shards may start now
        sweep(storage.join(the_run.folder, "attempts"), starts | {unit.unit_id for unit in units})
        log |= result.to_json()
    return result


def prepare(config: SegmentConfig, invocation: str = "") -> tuple[Run, list[Unit], list[Unit], int]:
    """Check the input, open the run and plan new rows.

    Returns the run, its units (of --shard), those to do, longest first, and the bytes that an actor on a CPU needs. The
    order of units of similar length depends on `invocation`, so that two commands do not both do the same.
    """
    digest = f"{manifest_digest(config.manifest)} {config.limit}"
    inputs, fingerprint, checkpoint = check_model(config)
    the_run, exists = find_run(config, fingerprint, inputs)
    if config.strict or config.rebase or not exists or not the_run.is_planned_from(digest):
        manifest = as_moved(config, check_manifest(config, checkpoint))
        started = Run.start(
            the_run.folder, the_run.fingerprint, inputs, record_of(config), unsafe=config.unsafe_storage
        )
        the_run = replace(started, otherwise=the_run.otherwise)
        planned, in_plan = as_planned(config, the_run, manifest), the_run.planned_uris()
        note_moved = partial(note_moved_videos, the_run.folder, in_plan, planned, manifest)
        the_run.extend_plan(
            planned,
            config.manifest,
            plan_options(config),
            limit=config.limit,
            manifest_digest=digest,
            accepted=note_moved if exists or config.rebase else lambda: None,
        )
        if exists and (names := ignored_columns(the_run, manifest)):
            echo(
                f"{', '.join(names)}: planned rows have other values in {config.manifest}, and the run keeps those of "
                "its plan; give the manifest to 'rvos evaluate --manifest'",
                err=True,
            )
    say_which_model(config)
    memory = memory_of_actor(config, checkpoint)
    return the_run, *units_to_do(config, the_run, invocation), memory


def units_to_do(config: SegmentConfig, the_run: Run, invocation: str) -> tuple[list[Unit], list[Unit]]:
    """Return the units of a run, and those to do as `prepare`."""
    units, committed = the_run.units(), the_run.committed()
    planned = sum(unit.stop - unit.start for unit in units)
    if config.limit is not None and planned > config.limit:
        echo(
            f"{planned} pairs are planned already, all of them are segmented: --limit {config.limit} is lower", err=True
        )
    units = config.share.of(units)
    todo = [unit for unit in units if unit.unit_id not in committed]
    if the_run.otherwise and todo:
        raise InputError(
            f"{the_run.folder} lacks {counted(len(todo), 'unit')}, and only failed pairs may have other options "
            f"than the run ({the_run.otherwise}); first repeat the command without these"
        )
    if the_run.otherwise and config.repair:
        raise InputError(
            f"--repair makes units again with the options of the run, not with {the_run.otherwise}; repair the run "
            "first, then retry the failed pairs"
        )
    if the_run.otherwise:
        the_run.note_options(the_run.otherwise)
    damaged = to_repair(the_run, units, committed) if config.repair else []
    todo += damaged
    committed -= {unit.unit_id for unit in damaged}
    todo += [unit for unit, _ in to_retry(the_run, units, committed, config.retry_statuses)]

    first = units[0].unit_id if units else ""
    todo = [replace(unit, decides=unit.unit_id == first) for unit in todo]

    def order(unit: Unit) -> tuple[bool, int, bytes]:
        text = f"{invocation} {unit.unit_id}".encode()
        return not unit.decides, -unit.pair_frames.bit_length(), hashlib.blake2b(text, digest_size=8).digest()

    return units, sorted(todo, key=order)


def check_model(config: SegmentConfig) -> tuple[dict, str, CheckpointInfo]:
    """Check the checkpoint. Returns the inputs of the fingerprint by name, the fingerprint, and the checkpoint's
    properties. Raises InputError."""
    checkpoint = read_checkpoint_info(config.checkpoint or BUNDLED)
    require_supported(config, checkpoint)
    if checkpoint.lookahead is None:
        inputs = fingerprint_inputs(config, checkpoint.digest, config.short_side or checkpoint.short_side)
        if config.no_target_below not in (None, checkpoint.no_target_below):  # the default is part of the digest
            inputs["no_target_below"] = config.no_target_below
    else:
        inputs = follower_inputs(config, checkpoint)
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    return inputs, fingerprint, checkpoint


def say_which_model(config: SegmentConfig) -> None:
    """Say that the bundled checkpoint is used, if nobody asked for it."""
    if config.checkpoint is None:
        echo(NOTE, err=True)


def check_manifest(config: SegmentConfig, checkpoint: CheckpointInfo) -> pa.Table:
    """Read the manifest. Raises InputError; with --strict also for each row that would become an error row.

    Without --checkpoint, remote videos raise it too.
    """
    manifest = read_manifest(config.manifest, allow_local=config.allow_local)
    if config.checkpoint is None:
        videos = pc.unique(manifest["video_uri"]).to_pylist()
        if remote := next((uri for uri in videos if uri and scheme_of(storage.origin(uri)) in SCHEMES), None):
            raise InputError(f"{NO_CHECKPOINT}. Videos of the manifest are remote, such as {shown(remote)}")
    if config.published.exclusive:
        require_groups(manifest)
    if config.published.context:
        require_context(manifest, config.manifest, config.window_frames)
    if config.strict:
        found = check.run(
            check.CheckConfig(manifest=config.manifest, allow_local=config.allow_local), checkpoint
        ).findings
        problems = [Problem(config.manifest, f.row, f.problem) for f in found if f.status != check.STALE]
        if problems:
            raise SchemaError(problems)
    return manifest


def _follow(
    receipts: Iterable[Receipt],
    todo: list[Unit],
    totals: RunTotals,
    notes: ReceiptNotes,
    progress: Callable[[RunProgress], None],
    fatal: Collection[str],
) -> None:
    """Add up receipts and report progress. Raises the error that stopped a worker, without Ray's wrapping.

    fatal: statuses that end the command if all of the first pairs fail with them.
    """
    planned = {unit.unit_id: unit.pair_frames for unit in todo}
    total_pairs, total_work = sum(unit.stop - unit.start for unit in todo), sum(planned.values())
    units = pairs = work = 0
    try:
        for receipt in receipts:
            totals.add(receipt)
            notes.add(receipt)
            _require_success(totals, fatal)
            units, pairs, work = units + 1, pairs + receipt.pairs, work + planned[receipt.unit_id]
            progress(
                RunProgress(
                    pairs=pairs,
                    total_pairs=total_pairs,
                    work=work,
                    total_work=total_work,
                    frames=totals.frames,
                    failed=sum(totals.failed.values()),
                    seconds=max(0.0, time.monotonic() - totals.started),
                )
            )
    except Exception as error:
        own = find_own_error(error)
        if own:
            raise own from None
        raise InfrastructureError(
            f"the cluster gave up after {units} of {counted(len(todo), 'unit')}: {describe_cause(error)}\n"
            "Committed units are kept; repeat the command to resume."
        ) from error


def _require_success(totals: RunTotals, fatal: Collection[str]) -> None:
    """Raise InfrastructureError if the first pairs all failed in a way of which the machine may be the cause."""
    for status in fatal:
        if totals.failed_now[status] >= MOST_FAILURES_AT_START and not totals.frames:
            event, cause = FAILURES_AT_START[status]
            raise InfrastructureError(
                f"the first {totals.failed_now[status]} pairs {event}, and none was segmented: {totals.errors[0]}. If "
                f"{cause} is the cause, mend it and repeat the command with --retry-errors={status}; otherwise repeat "
                "it as it was"
            )


def _say_what_is_waited_for(the_run: Run, invocation: str, pool: Resources, address: str, waited: float) -> None:
    """Raises InfrastructureError if waiting is no use."""
    import ray

    needs_gpu, is_local = pool.gpus_per_actor > 0, address == "local"
    reason = what_is_waited_for(the_run, invocation, needs_gpu, ray.nodes(), is_local=is_local)
    echo(f"no unit was finished in the last {clock(waited)}: {reason}", err=True)


def _add_earlier(the_run: Run, units: list[Unit], todo: list[Unit], totals: RunTotals, notes: ReceiptNotes) -> None:
    """Add the receipts of units that were committed before. Raises InfrastructureError for one of another run."""
    doing = {unit.unit_id for unit in todo}
    for receipt in receipts_of(the_run, (unit.unit_id for unit in units if unit.unit_id not in doing)):
        if receipt.fingerprint != the_run.fingerprint:
            raise InfrastructureError(
                f"unit {receipt.unit_id} in {the_run.folder} was made with fingerprint {receipt.fingerprint}, not "
                f"{the_run.fingerprint}; run 'rvos audit'"
            )
        totals.add(receipt)
        notes.add(receipt)


def _sum_up(
    config: SegmentConfig,
    the_run: Run,
    units: list[Unit],
    totals: RunTotals,
    pool: Resources,
    wall_seconds: float,
    unit_frames: str,
) -> SegmentResult:
    planned, committed = {unit.unit_id for unit in units}, the_run.committed()
    if lost := planned - committed:
        raise InfrastructureError(
            f"{the_run.folder} lacks {counted(len(lost), 'unit')}; repeat the command to make them"
        )
    seconds = max(0.0, totals.ended - totals.started)
    pairs = sum(unit.stop - unit.start for unit in units)
    return SegmentResult(
        run=the_run.folder,
        shard=ShardResult.of(config.shard, the_run, committed) if config.shard else None,
        pairs=pairs,
        there_before=pairs - totals.fresh_pairs,
        failed=dict(totals.failed),
        errors=totals.errors,
        skipped=skipped_of(totals.left_out),
        made_with=dict(totals.made_with),
        frames=totals.frames,
        seconds=round(seconds, 3),
        startup_seconds=round(wall_seconds - seconds, 3),
        is_bundled=config.is_bundled,
        rules=config.rules,
        differences=config.differences,
        stages={name: round(value, 3) for name, value in totals.stages.items()},
        parity=totals.parity,
        halvings=totals.halvings,
        bound=find_bottleneck(totals.stages, seconds, pool.max_actors, pool.gpus_per_actor > 0, unit_frames)
        if seconds and totals.frames
        else None,
    )
