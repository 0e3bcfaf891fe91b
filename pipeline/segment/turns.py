"""The driver's side of the actors: give them units turn by turn, and leave out hosts and GPUs that cannot work."""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, replace

import ray.data

from pipeline.cluster.gpus import gpus_held
from pipeline.cluster.tasks import data_context
from pipeline.io import storage
from pipeline.runs.attempts import AttemptTracker
from pipeline.runs.commit import Receipt
from pipeline.runs.retry_step import LAST_TURN, next_retry_step
from pipeline.runs.run import Run, Unit
from pipeline.segment.actor import Invocation, UnitAnswer, UnitSegmenter
from pipeline.segment.clips import FrameOptions
from pipeline.segment.model_options import ModelOptions
from pipeline.segment.places import Places
from pipeline.segment.resources import Resources
from schemas.errors import InfrastructureError

UNITS_PER_BLOCK = 8  # the driver schedules blocks, at some milliseconds each; few units, to spread the work to the end


def segment_units(
    units: list[Unit],
    run: Run,
    model: ModelOptions,
    frames: FrameOptions,
    resources: Resources,
    invocation: Invocation,
    on_bad_host: Callable[[str], None] = lambda reason: None,
) -> Generator[Receipt, None, None]:
    """Segment `units` on the running Ray session. Yield receipts as units are committed, in any order.

    Units with attempts whose node or driver died come last, those with several of them on a single actor. Units of a
    host or GPU that cannot work go to others; `on_bad_host` is called with the reason at the end. Raises
    InfrastructureError if none can work, and at the end if units are refused because their nodes died again and again.
    """
    refused: dict[str, str] = {}
    places, turn = Places(resources.gpus_per_actor), 0
    while units and turn <= LAST_TURN:
        postponed: list[Unit] = []
        elsewhere: list[Unit] = []
        bad_before = set(places.bad)
        turn = max(turn, _first_turn(units, run, invocation))
        by_id = {unit.unit_id: replace(unit, turn=turn) for unit in units}
        pool = resources if turn < LAST_TURN else replace(resources, max_actors=1, min_actors=1)
        for avoided, part in places.divide(list(by_id.values())):
            arguments = run, model, frames, invocation, bad_before
            selector, gpus = places.label_selector(avoided), places.gpus_to_hold(avoided)
            with gpus_held(gpus), closing(_segment_in_turn(part, pool, selector, arguments)) as answers:
                for answer in answers:
                    places.note(answer)
                    if answer.receipt:
                        yield Receipt(**json.loads(answer.receipt))
                    elif answer.failed:
                        elsewhere.append(by_id[answer.unit_id])
                    elif answer.reason and not answer.absent:
                        refused[answer.unit_id] = answer.reason
                    else:
                        postponed.append(by_id[answer.unit_id])
        if len(elsewhere) == len(units) and places.bad.keys() == bad_before:
            places.give_up(next(iter(places.bad.values())))  # Ray starts actors in bad places only
        places.end_turn()
        units, turn = elsewhere + postponed, turn if elsewhere else turn + 1
    for place, found in places.bad.items():
        what, others = (f"GPU {place.gpu} of host", "other GPUs") if place.gpu else ("host", "other hosts")
        on_bad_host(f"{what} {found.host} (node {place.node}) was left out, {others} did its units: {found.reason}")
    if refused:
        unit_id, reason = next(iter(refused.items()))
        folder = storage.join(run.folder, "attempts", unit_id)
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise InfrastructureError(
            f"all units are done except {unit_id}{more}. {reason}; use machines with more memory, or replace the "
            f"video. Then remove {folder} and repeat the command"
        )


def _first_turn(units: list[Unit], run: Run, invocation: Invocation) -> int:
    """Return the first turn in which one of the units may be tried. Actors of an earlier one would start in vain."""
    folder = storage.join(run.folder, "attempts")
    if {unit.unit_id for unit in units} - set(storage.names(folder, missing_ok=True)):
        return 0
    alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
    tracker = AttemptTracker(folder, invocation.name, "", alive.__contains__)
    return min(next_retry_step(tracker.history(unit.unit_id)).turn for unit in units)


def _segment_in_turn(
    units: list[Unit], resources: Resources, label_selector: dict[str, str] | None, arguments: tuple
) -> Generator[UnitAnswer, None, None]:
    """Yield the answers of actors on the nodes that `label_selector` allows. `arguments`: of `UnitSegmenter`."""
    data_context().target_max_block_size = 1  # hand on each receipt at once instead of collecting a block
    per_block = max(1, min(UNITS_PER_BLOCK, len(units) // (8 * resources.max_actors)))
    blocks = -(-len(units) // per_block)
    # An actor that dies is restarted and its call repeated, as often as it takes: the ladder of attempts ends that.
    # Ray makes blocks of items here; of Arrow tables it would ask other processes for the sizes first.
    answers = ray.data.from_items([asdict(unit) for unit in units], override_num_blocks=blocks).map_batches(
        UnitSegmenter,  # pyright: ignore[reportArgumentType]
        fn_constructor_args=arguments,
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
        num_gpus=resources.gpus_per_actor or None,
        compute=resources.pool(),
        label_selector=label_selector,
    )
    # Prefetching would hold back each receipt until the next one comes.
    for batch in answers.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for row in batch.to_pylist():
            yield UnitAnswer(**row)
