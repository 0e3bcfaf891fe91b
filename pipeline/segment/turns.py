"""The driver's side of the actors: give them units turn by turn, and leave out hosts that cannot work."""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import ray
import ray.data

from pipeline.cluster.tasks import data_context
from pipeline.io import storage
from pipeline.runs.attempts import LAST_TURN
from pipeline.runs.commit import Receipt
from pipeline.runs.run import Run, Unit
from pipeline.segment.actor import Invocation, ModelOptions, UnitAnswer, UnitSegmenter
from pipeline.segment.clips import FrameOptions
from pipeline.segment.resources import Resources
from schemas.errors import InfrastructureError, InputError

UNITS_PER_BLOCK = 8  # the driver schedules blocks, at some milliseconds each; few units, to spread the work to the end


@dataclass
class Hosts:
    """The nodes of one command: those that have read videos, and those that cannot work, with the reason."""

    needs_gpu: bool
    bad: dict[str, UnitAnswer] = field(default_factory=dict)  # node -> why it cannot work
    _suspects: dict[str, UnitAnswer] = field(default_factory=dict)  # nodes that found no video of a unit
    _failed_on: dict[str, str] = field(default_factory=dict)  # unit -> the last node where a pair of it failed
    _seen: set[str] = field(default_factory=set)  # nodes that have answered
    _readers: set[str] = field(default_factory=set)  # nodes that have segmented something

    def note(self, answer: UnitAnswer) -> None:
        """Learn from an answer. Raises InfrastructureError or InputError if no node is left that can work."""
        self._seen.add(answer.node)
        if answer.receipt and answer.frames:
            self._readers.add(answer.node)
        if answer.moves:
            self._failed_on[answer.unit_id] = answer.node
        if answer.blind:
            self._suspects.setdefault(answer.node, answer)
        if answer.failed and answer.node not in self.bad:
            self.bad[answer.node] = answer
            kind = "GPU" if self.needs_gpu else "CPU"
            nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(kind)]
            if all(node["NodeID"] in self.bad for node in nodes):
                raise (InputError if answer.exit_code == InputError.exit_code else InfrastructureError)(answer.reason)

    def end_turn(self) -> None:
        """Leave out the nodes that found no video, if others did."""
        if self._readers:
            self.bad |= {node: found for node, found in self._suspects.items() if node not in self._readers}

    def divide(self, units: list[Unit]) -> list[tuple[set[str], list[Unit]]]:
        """Divide units into those of one pass, each with nodes to avoid, so that none returns to where it failed.

        If some nodes have read videos and no unit failed there, they get all units. Otherwise one half of the nodes
        gets the units of the other half.
        """
        alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        doubtful, able = set(self._failed_on.values()), (self._seen & alive) - self.bad.keys()
        if not doubtful or (able & self._readers) - doubtful:
            return [(doubtful, units)]
        if len(able) < 2:
            return [(set(), units)]
        half = set(sorted(able)[::2])
        from_half = [unit for unit in units if self._failed_on.get(unit.unit_id) in half]
        others = [unit for unit in units if self._failed_on.get(unit.unit_id) not in half]
        return [(nodes, part) for nodes, part in ((half, from_half), (able - half, others)) if part]

    def label_selector(self, avoided: set[str]) -> dict[str, str] | None:
        """Ray's condition for the nodes of actors."""
        without = sorted(self.bad.keys() | avoided)
        return {"ray.io/node-id": f"!in({','.join(without)})"} if without else None


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
    host that cannot work go to others; `on_bad_host` is called with the reason at the end. Raises InfrastructureError
    if no host can work, and at the end if units are refused because their nodes died again and again.
    """
    refused: dict[str, str] = {}
    hosts, turn = Hosts(resources.gpus_per_actor > 0), 0
    while units and turn <= LAST_TURN:
        postponed: list[Unit] = []
        elsewhere: list[Unit] = []
        by_id = {unit.unit_id: replace(unit, turn=turn) for unit in units}
        pool = resources if turn < LAST_TURN else replace(resources, max_actors=1, min_actors=1)
        arguments = run, model, frames, invocation
        for avoided, part in hosts.divide(list(by_id.values())):
            with closing(_segment_in_turn(part, pool, hosts.label_selector(avoided), arguments)) as answers:
                for answer in answers:
                    hosts.note(answer)
                    if answer.receipt:
                        yield Receipt(**json.loads(answer.receipt))
                    elif answer.failed:
                        elsewhere.append(by_id[answer.unit_id])
                    elif answer.reason and not answer.blind:
                        refused[answer.unit_id] = answer.reason
                    else:
                        postponed.append(by_id[answer.unit_id])
        hosts.end_turn()
        units, turn = elsewhere + postponed, turn if elsewhere else turn + 1
    for found in hosts.bad.values():
        on_bad_host(f"host {found.host} (node {found.node}) was left out, other hosts did its units: {found.reason}")
    if refused:
        unit_id, reason = next(iter(refused.items()))
        folder = storage.join(run.folder, "attempts", unit_id)
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise InfrastructureError(
            f"all units are done except {unit_id}{more}. {reason}; use machines with more memory, or replace the "
            f"video. Then remove {folder} and repeat the command"
        )


def _segment_in_turn(
    units: list[Unit], resources: Resources, label_selector: dict[str, str] | None, arguments: tuple
) -> Generator[UnitAnswer, None, None]:
    """Yield the answers of actors on the nodes that `label_selector` allows. `arguments`: of `UnitSegmenter`."""
    data_context().target_max_block_size = 1  # hand on each receipt at once instead of collecting a block
    columns = [asdict(unit) for unit in units]
    per_block = max(1, min(UNITS_PER_BLOCK, len(units) // (8 * resources.max_actors)))
    blocks = [pa.Table.from_pylist(columns[i : i + per_block]) for i in range(0, len(units), per_block)]
    # An actor that dies is restarted and its call repeated, as often as it takes: the ladder of attempts ends that.
    answers = ray.data.from_arrow(blocks).map_batches(
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
