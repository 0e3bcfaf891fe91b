"""The main chain: units in, receipts out. One actor holds one model; only receipts travel through Ray.

units -> UnitSegmenter (decode, model, RLE, commit beside each other) -> receipts
"""

import itertools
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from model.bundled import BUNDLED, FOLDER
from model.referformer.checkpoint import load_segmenter
from model.referformer.inference.segmenter import Segmenter
from pipeline.io import storage
from pipeline.runs.attempts import Attempts, next_retry_step
from pipeline.runs.commit import Receipt, ReplacedObject
from pipeline.runs.run import Run, Unit
from pipeline.segment.clips import FrameOptions
from pipeline.segment.in_flight import Attempt
from pipeline.segment.unit import Prepared, UnitJob, segment_jobs
from schemas.pair import PairKey

UNITS_PER_CALL = 8  # fewer calls for the driver to hand out; still few, so that work spreads to the end
CALLS_AT_ONCE = 2  # of one actor: the first units of the second are decoded while the last of the first are done


def checkpoint_folder(checkpoint: str) -> AbstractContextManager[str]:
    """A local path of the checkpoint in this folder or at this URI; EMBEDDED is that of the installation at hand."""
    return nullcontext(str(FOLDER)) if checkpoint == BUNDLED else storage.local_folder(checkpoint)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """How an actor builds its Segmenter."""

    checkpoint: str  # absolute, or EMBEDDED
    device: str = "auto"
    threads: int | None = None  # torch threads on CPU; None leaves torch's own choice
    short_side: int = 360
    max_size: int | None = None
    threshold: float = 0.5
    precision: str = "fp32"
    compiled: bool = False

    def load(self) -> Segmenter:
        if self.threads:
            import torch

            torch.set_num_threads(self.threads)
        with checkpoint_folder(self.checkpoint) as folder:
            return load_segmenter(
                folder,
                device=self.device,
                short_side=self.short_side,
                max_size=self.max_size,
                threshold=self.threshold,
                precision=self.precision,
                compiled=self.compiled,
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What the actor pool takes from the cluster: always at least `least` actors, up to `actors`.

    All are asked for at once, since their waiting is what makes a cluster grow; with `least` below `actors`, those
    that find no more work are given back before the end.
    """

    actors: int = 1
    least: int = 1
    gpus_per_actor: float = 0.0

    def pool(self) -> ActorPoolStrategy:
        return ActorPoolStrategy(
            min_size=self.least,
            max_size=self.actors,
            initial_size=self.actors,
            max_tasks_in_flight_per_actor=CALLS_AT_ONCE,
            max_concurrent_calls_per_actor=CALLS_AT_ONCE,
            enable_true_multi_threading=True,  # calls only queue their units and wait: the model has one thread
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """How one driver works: its name among all that ever worked on the run, the seconds that one attempt may take, and
    the statuses of those pairs that are done again."""

    invocation: str
    timeout: float | None = None
    again: tuple[str, ...] = ()


class UnitSegmenter:
    """One GPU actor (or a share of the CPUs): builds the model once, then does unit after unit of all its calls."""

    def __init__(self, run: Run, model: ModelOptions, frames: FrameOptions, work: Invocation):
        self.run = run
        self.frames = frames
        self.again = work.again
        node = ray.get_runtime_context().get_node_id()
        self.attempts = Attempts(run.attempts_folder, work.invocation, node, _node_is_alive, work.timeout)
        self.segmenter = model.load()
        self.queued: SimpleQueue[Unit] = SimpleQueue()
        self.promised: SimpleQueue[Future[Receipt]] = SimpleQueue()  # in the order of `queued`
        self.queueing = threading.Lock()
        threading.Thread(target=self._work, name="units", daemon=True).start()

    def __call__(self, units: pa.Table) -> Iterator[pa.Table]:
        """Units (columns of `Unit`) to receipts (one JSON text each), one by one; for several threads at once."""
        promised: list[Future[Receipt]] = []
        with self.queueing:
            for row in units.to_pylist():
                promised.append(Future())
                self.promised.put(promised[-1])
                self.queued.put(Unit(**row))
        for receipt in promised:
            yield pa.table({"receipt": [receipt.result().to_json()]})

    def _work(self) -> None:
        """Keep all promises, as long as the process lives."""
        prepared = (self._prepare(self.queued.get()) for _ in itertools.count())
        try:
            for receipt in segment_jobs(prepared, self.segmenter, self.frames):
                self.promised.get().set_result(receipt)
        except BaseException as error:
            while True:
                self.promised.get().set_exception(error)

    def _prepare(self, unit: Unit) -> Prepared:
        """What there is to do for a unit, as storage tells now."""
        since = time.perf_counter()
        uri = self.run.masks_uri(unit.unit_id)
        earlier = None
        if storage.exists(uri):
            there = self.run.receipt(unit.unit_id)
            if there.generation >= unit.generation:
                return there
            earlier = ReplacedObject.read(uri, self.again)
        rung = next_retry_step(self.attempts.deaths(unit.unit_id))

        def guard(rows: list[dict]) -> Attempt:
            alone = PairKey.of(rows[0]) if rung.alone else None
            return self.attempts.attempt(unit.unit_id, alone)

        rows = self.run.rows(unit).to_pylist()
        if earlier:
            rows = [row for row in rows if PairKey.of(row) in earlier.again]
        return UnitJob(uri, rows, guard, rung, earlier, since), Receipt(unit.unit_id, self.run.fingerprint)


def _node_is_alive(node: str) -> bool:
    return any(found["NodeID"] == node and found["Alive"] for found in ray.nodes())


def segment_units(
    units: list[Unit],
    run: Run,
    model: ModelOptions,
    frames: FrameOptions,
    resources: Resources,
    work: Invocation,
) -> Iterator[Receipt]:
    """Segment `units` on the running Ray session; receipts come as units are committed, in any order."""
    calls = _calls(units, resources.actors)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = 1  # a receipt is handed on at once, not gathered into a block
    context.execution_no_progress_timeout_s = -1  # nodes may take hours to come, and a unit to be done
    # An actor that dies is restarted, and its call repeated, as often as it takes: the ladder of attempts ends that.
    receipts = ray.data.from_arrow(calls).map_batches(
        UnitSegmenter,  # pyright: ignore[reportArgumentType]
        fn_constructor_args=(run, model, frames, work),
        batch_format="pyarrow",
        batch_size=calls[0].num_rows,  # one table a call; Ray demands a number where there are GPUs
        num_cpus=1,
        num_gpus=resources.gpus_per_actor or None,
        compute=resources.pool(),
    )
    # Prefetching would hold each receipt back until the next one is there.
    for batch in receipts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for text in batch["receipt"].to_pylist():
            yield Receipt.from_json(text)


def _calls(units: list[Unit], actors: int) -> list[pa.Table]:
    """One table per actor call: few units each when there are few, so that every actor has work."""
    per_call = max(1, min(UNITS_PER_CALL, len(units) // (4 * actors)))
    columns = [{name: getattr(unit, name) for name in Unit.__slots__} for unit in units]
    return [pa.Table.from_pylist(columns[i : i + per_call]) for i in range(0, len(units), per_call)]
