"""The chain on Ray: units in, receipts out. Each actor holds one model; frames and masks never travel through Ray."""

import json
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from importlib.metadata import version
from queue import SimpleQueue

import pyarrow as pa
import ray
import ray.data

from model.families import DEFAULT_RULES, load_segmenter
from model.segmenter import InferenceRules, Segmenter
from pipeline.cluster.tasks import data_context
from pipeline.io import storage
from pipeline.io.checkpoint import checkpoint_folder
from pipeline.runs.attempts import CONTROL, MAX_CONTROL_DEATHS, STARTING, AttemptTracker, RetryStep, next_retry_step
from pipeline.runs.commit import Receipt, ReplacedObject, damage_of, read_receipt
from pipeline.runs.moved import moved_videos
from pipeline.runs.run import Run, Unit
from pipeline.segment.chain import segment_jobs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from pipeline.segment.resources import Resources
from schemas import access
from schemas.errors import InfrastructureError, ProcessError
from schemas.pair import PairKey

MAX_START_DEATHS = 5  # of processes of one invocation on one host
MASK_PACKAGES = ("av", "torch", "transformers")
UNITS_PER_BLOCK = 8  # the driver schedules blocks, at some milliseconds each; few units, to spread the work to the end


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Options with which an actor builds its segmenter."""

    checkpoint: str  # absolute, or BUNDLED
    device: str = "auto"
    threads: int | None = None  # torch threads on a CPU; None: torch's own choice
    short_side: int | None = None  # None: the default of the checkpoint
    max_size: int | None = None
    threshold: float = 0.5
    precision: str = "fp32"
    compiled: bool = False
    rules: InferenceRules = DEFAULT_RULES

    def load(self) -> Segmenter:
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        # TF32 has the precision of fp16: fp32 would differ between kinds of GPU.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        with checkpoint_folder(self.checkpoint) as folder:
            return load_segmenter(
                folder,
                device=self.device,
                short_side=self.short_side,
                max_size=self.max_size,
                threshold=self.threshold,
                precision=self.precision,
                compiled=self.compiled,
                rules=self.rules,
            )

    def made_with(self) -> str:
        """Return the versions and the device that may change single pixels."""
        import torch

        on_gpu = self.device != "cpu" and torch.cuda.is_available()
        device = torch.cuda.get_device_name() if on_gpu else f"CPU ({platform.machine()})"
        return ", ".join([*(f"{name} {version(name)}" for name in MASK_PACKAGES), device])


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One driver that works on a run."""

    name: str  # unique among all invocations of the run
    timeout: float | None = None  # seconds that one attempt may take
    retry_statuses: tuple[str, ...] = ()  # statuses of the pairs to retry
    allowed: tuple[str, ...] = ()  # servers in private networks; see `schemas.access`


class UnitSegmenter:
    """An actor with one GPU (or a share of one, or some CPUs): one model, and one chain for the units of all calls.

    Several calls wait here at once, each for its unit, so that the chain always has a unit to decode and one to write
    next to the one at the model.
    """

    def __init__(self, run: Run, model: ModelOptions, frames: FrameOptions, invocation: Invocation):
        access.allow(*invocation.allowed)
        self.run = run
        self.retry_statuses = invocation.retry_statuses
        node = ray.get_runtime_context().get_node_id()
        self.tracker = AttemptTracker(
            storage.join(run.folder, "attempts"),
            invocation.name,
            node,
            is_alive=lambda node: any(found["NodeID"] == node and found["Alive"] for found in ray.nodes()),
            timeout=invocation.timeout,
        )
        self.made_with = model.made_with()
        self.moved = moved_videos(run.folder)
        self.jobs: SimpleQueue[UnitJob] = SimpleQueue()
        self.receipts: SimpleQueue[Future[Receipt]] = SimpleQueue()  # of `jobs`, in the same order
        self.queueing = threading.Lock()
        segmenter = self._load(model)
        chain = segment_jobs(iter(self.jobs.get, None), segmenter, frames, self.tracker)
        threading.Thread(target=self._work, args=[chain], name="units", daemon=True).start()

    def _load(self, model: ModelOptions) -> Segmenter:
        """Load the model. Raises InfrastructureError if processes keep dying of that: Ray restarts them for ever."""
        deaths = self._deaths_here(STARTING)
        if deaths >= MAX_START_DEATHS:
            raise InfrastructureError(
                f"{deaths} processes have died on host {socket.gethostname()} while they loaded the model, probably "
                "for lack of memory; use fewer --actors, or a machine with more memory"
            )
        attempt = self.tracker.begin(STARTING)
        try:
            return model.load()
        finally:
            self.tracker.end(attempt)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment one unit (columns of `Unit`). Called by several threads at once.

        Returns its receipt as JSON, or an empty one and the reason why the unit must wait for a later turn.
        """
        (row,) = batch.to_pylist()
        unit, since = Unit(**row), time.perf_counter()
        uri = self.run.masks_uri(unit.unit_id)
        receipt, replaced = self._committed(unit, uri)
        while receipt is None or replaced:
            step = self._next_step(unit.unit_id)
            if step.turn > unit.turn or step.refused:
                return pa.table({"unit_id": [unit.unit_id], "receipt": [""], "reason": [step.refused or ""]})
            rows = self.run.rows(unit).to_pylist()
            rows = [row | {"video_uri": self.moved.get(row["video_id"], row["video_uri"])} for row in rows]
            if receipt and replaced:
                rows = [row for row in rows if PairKey.of(row) in replaced.retried_pairs]
            job = UnitJob(
                unit_id=unit.unit_id,
                fingerprint=self.run.fingerprint,
                uri=uri,
                rows=rows,
                run_id=self.run.run_id,
                made_with=self.made_with,
                confirm=self.run.require_same,
                step=step,
                replaced=replaced,
                since=since,
            )
            promised: Future[Receipt] = Future()
            with self.queueing:
                self.receipts.put(promised)
                self.jobs.put(job)
            receipt = promised.result()
            # Another command may have replaced the object first, to retry pairs that failed with other statuses.
            crossed = replaced and not receipt.fresh and not receipt.failed.keys().isdisjoint(self.retry_statuses)
            replaced = ReplacedObject.read(uri, self.retry_statuses) if crossed else None
        return pa.table({"unit_id": [unit.unit_id], "receipt": [receipt.to_json()], "reason": [""]})

    def _next_step(self, unit_id: str) -> RetryStep:
        """Raise InfrastructureError if processes on this host die whatever they do."""
        history = self.tracker.history(unit_id)
        controls = self._deaths_here(CONTROL) if any(marker.pair for marker in history.deaths) else 0
        if controls >= MAX_CONTROL_DEATHS:
            raise InfrastructureError(
                f"{controls} processes have died on host {socket.gethostname()} while they segmented an empty picture: "
                "something else ends them, such as a full memory or a broken GPU; repeat the command when that is over"
            )
        return next_retry_step(history, controls)

    def _deaths_here(self, what: str) -> int:
        return sum(marker.host == socket.gethostname() for marker in self.tracker.deaths(what))

    def _committed(self, unit: Unit, uri: str) -> tuple[Receipt | None, ReplacedObject | None]:
        """Return the receipt of the unit's object, None if there is none; and the object if it must be replaced."""
        if not storage.exists(uri):
            return None, None
        if unit.repair:
            version = storage.version(uri)
            if damage_of(uri):
                return None, ReplacedObject(uri, version, None, frozenset())
        receipt = read_receipt(uri)
        again = receipt.generation < unit.generation
        return receipt, ReplacedObject.read(uri, self.retry_statuses) if again else None

    def _work(self, chain: Iterator[Receipt]) -> None:
        """Set the receipts in turn while the process lives. An error of the chain fails all calls from then on.

        After an unexpected one the process ends, since Ray starts another one: that counts as a death of the unit.
        """
        try:
            for receipt in chain:
                self.receipts.get().set_result(receipt)
        except ProcessError:
            os._exit(1)
        except BaseException as error:
            while True:
                self.receipts.get().set_exception(error)


def segment_units(
    units: list[Unit],
    run: Run,
    model: ModelOptions,
    frames: FrameOptions,
    resources: Resources,
    invocation: Invocation,
) -> Iterator[Receipt]:
    """Segment `units` on the running Ray session. Yield receipts as units are committed, in any order.

    Units with attempts whose node or driver died come last, those with several of them on a single actor. Raises
    InfrastructureError at the end if units are refused because that happened again and again.
    """
    refused: dict[str, str] = {}
    for turn in range(3):
        postponed: list[Unit] = []
        by_id = {unit.unit_id: replace(unit, turn=turn) for unit in units}
        pool = resources if turn < 2 else replace(resources, max_actors=1, min_actors=1)
        for unit_id, receipt, reason in _segment_in_turn(list(by_id.values()), run, model, frames, pool, invocation):
            if receipt:
                yield Receipt(**json.loads(receipt))
            elif reason:
                refused[unit_id] = reason
            else:
                postponed.append(by_id[unit_id])
        units = postponed
    if refused:
        unit_id, reason = next(iter(refused.items()))
        folder = storage.join(run.folder, "attempts", unit_id)
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise InfrastructureError(
            f"all units are done except {unit_id}{more}. {reason}; use machines with more memory, or replace the "
            f"video. Then remove {folder} and repeat the command"
        )


def _segment_in_turn(
    units: list[Unit], run: Run, model: ModelOptions, frames: FrameOptions, resources: Resources, invocation: Invocation
) -> Iterator[tuple[str, str, str]]:
    """Yield the columns that `UnitSegmenter` returns, unit by unit."""
    if not units:
        return
    data_context().target_max_block_size = 1  # hand on each receipt at once instead of collecting a block
    columns = [{name: getattr(unit, name) for name in Unit.__slots__} for unit in units]
    per_block = max(1, min(UNITS_PER_BLOCK, len(units) // (8 * resources.max_actors)))
    blocks = [pa.Table.from_pylist(columns[i : i + per_block]) for i in range(0, len(units), per_block)]
    # An actor that dies is restarted and its call repeated, as often as it takes: the ladder of attempts ends that.
    receipts = ray.data.from_arrow(blocks).map_batches(
        UnitSegmenter,  # pyright: ignore[reportArgumentType]
        fn_constructor_args=(run, model, frames, invocation),
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
        num_gpus=resources.gpus_per_actor or None,
        compute=resources.pool(),
    )
    # Prefetching would hold back each receipt until the next one comes.
    for batch in receipts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
        for row in batch.to_pylist():
            yield row["unit_id"], row["receipt"], row["reason"]
