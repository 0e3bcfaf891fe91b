"""The chain on Ray: units in, answers out. Each actor holds one model; frames and masks never travel through Ray."""

import os
import socket
import sys
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from queue import SimpleQueue

import pyarrow as pa
import ray

from model.segmenter import Segmenter
from pipeline.io import storage
from pipeline.runs.attempts import STARTING, AttemptTracker, Marker, Place
from pipeline.runs.commit import Receipt, ReplacedObject, damage_of, read_receipt
from pipeline.runs.moved import moved_videos
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.refined import RefinedRun
from pipeline.runs.retry_step import LAST_TURN, MAX_CONTROL_DEATHS, RetryStep, next_retry_step
from pipeline.runs.run import Run, Unit
from pipeline.segment.chain import segment_jobs
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from pipeline.segment.metrics import ActorMetrics
from pipeline.segment.model_options import ModelOptions
from pipeline.segment.source_masks import read_sources
from pipeline.segment.write_stage import Postponed
from schemas import access
from schemas.errors import InfrastructureError, ProcessError, RvosError, StorageError
from schemas.pair import PairKey
from schemas.shown import shown

MAX_START_DEATHS = 5  # of processes of one invocation on one host
MAX_NOT_FINITE = 10  # units whose output is not finite, in a process that has made no masks
# Python's 5 ms are as long as the model would wait, at any operation, for threads that decode and write.
SWITCH_SECONDS = 0.0002
MOVES_WITH = frozenset({"oom", "nan"})  # statuses that another node is asked about before a row is committed


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """One driver that works on a run."""

    name: str  # unique among all invocations of the run
    timeout: float | None = None  # seconds that one attempt may take
    retry_statuses: tuple[str, ...] = ()  # statuses of the pairs to retry
    allowed: tuple[str, ...] = ()  # servers in private networks; see `schemas.access`


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitAnswer:
    """The outcome of one unit in an actor: a receipt, or the reason why there is none."""

    unit_id: str
    node: str
    gpu: str = ""  # as in `Place`
    host: str = field(default_factory=socket.gethostname)
    receipt: str = ""  # as JSON; "": the unit is not committed
    frames: int = 0  # with masks that this process made
    reason: str = ""  # why the unit is refused, or the place cannot work; "": the unit waits for a later turn
    failed: bool = False  # the place cannot work
    moves: bool = False  # a pair of the unit failed in this place, and another place can try it
    absent: bool = False  # a local video does not exist on the node, and another node can look
    blind: bool = False  # the node finds none of the unit's videos, and has not read any
    exit_code: int = 0  # of the error

    @property
    def place(self) -> Place:
        return Place(self.node, self.gpu)


class UnitSegmenter:
    """An actor with one GPU (or a share of one, or some CPUs): one model, and one chain for the units of all calls.

    Several calls wait here at once, each for its unit, so that the chain always has a unit to decode and one to write
    next to the one at the model.
    """

    def __init__(
        self,
        run: Run,
        model: ModelOptions,
        frames: FrameOptions,
        invocation: Invocation,
        left_out: Collection[Place] = (),
    ):
        """left_out: places that cannot work, where Ray may still start this process."""
        access.allow(*invocation.allowed)
        self.run, self.plan = run, PlanReader(run)
        self.retry_statuses = invocation.retry_statuses
        self.place = _this_place()
        self.has_read, self.error = False, None  # error: why this process cannot work
        self.not_finite = 0  # units
        self.tracker = AttemptTracker(
            storage.join(run.folder, "attempts"),
            invocation.name,
            self.place.node,
            is_alive=lambda node: any(found["NodeID"] == node and found["Alive"] for found in ray.nodes()),
            timeout=invocation.timeout,
            gpu=self.place.gpu,
        )
        self.metrics = ActorMetrics(storage.file_name(run.folder))
        self.source = run.source if isinstance(run, RefinedRun) else ""
        self.jobs: SimpleQueue[UnitJob] = SimpleQueue()
        self.receipts: SimpleQueue[Future[Receipt | Postponed]] = SimpleQueue()  # of `jobs`, in the same order
        self.queueing = threading.Lock()
        try:
            if self.place in left_out:
                raise InfrastructureError(f"{self._here()} was left out before")
            self.moved = self._moved_videos()
            segmenter = self._load(model)
            self.made_with = model.made_with()
        except RvosError as error:
            self.error = error
            return
        except Exception as error:
            reason = f"{self._here()} cannot load the model: {type(error).__name__}: {error}"
            self.error = InfrastructureError(reason)
            return
        sys.setswitchinterval(SWITCH_SECONDS)
        units = iter(self.jobs.get, None)
        chain = segment_jobs(units, segmenter, frames, self.tracker, self._video_uris, model.reference())
        threading.Thread(target=self._work, args=[chain], name="units", daemon=True).start()

    def _moved_videos(self) -> dict[str, str]:
        """Raise RvosError if the run cannot be used on this host, before anything is written to it."""
        try:
            self.run.require_same()
            return moved_videos(self.source or self.run.folder)
        except RvosError:
            raise
        except OSError as error:
            raise self._storage_error(error) from None

    def _storage_error(self, error: OSError) -> StorageError:
        """Of this host: on another one the same file may be well."""
        return StorageError(
            f"{self._here()} cannot use {shown(self.run.folder)}: {error}; check its mounts, then repeat the command"
        )

    def _load(self, model: ModelOptions) -> Segmenter:
        """Load the model. Raises InfrastructureError if processes keep dying of that: Ray restarts them for ever."""
        deaths = self._count_here(self.tracker.deaths(STARTING))
        if deaths >= MAX_START_DEATHS:
            raise InfrastructureError(
                f"{deaths} processes have died on {self._here()} while they loaded the model, probably "
                "for lack of memory; use fewer --actors, or a machine with more memory"
            )
        attempt = self.tracker.begin(STARTING)
        try:
            self._require_gpu(model)
            return model.load()
        finally:
            self.tracker.end(attempt)

    def _require_gpu(self, model: ModelOptions) -> None:
        """Raise InfrastructureError if torch does not find this actor's GPU: it would take the CPU instead."""
        import torch

        needs_gpu = self.place.gpu and model.device != "cpu" and torch.backends.cuda.is_built()
        if needs_gpu and not torch.cuda.is_available():
            raise InfrastructureError(f"torch cannot use {self._here()}; see what nvidia-smi says of it there")

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Segment one unit (columns of `Unit`); returns the columns of `UnitAnswer`. Several threads call at once."""
        (row,) = batch.to_pylist()
        unit = Unit(**row)
        try:
            if self.error:
                raise self.error
            answer = self._segment(unit)
        except RvosError as error:
            if not (self.error or isinstance(error, InfrastructureError)):
                raise
            answer = self._answer(unit, reason=str(error), failed=True, exit_code=error.exit_code)
        except OSError as error:
            failure = self._storage_error(error)
            answer = self._answer(unit, reason=str(failure), failed=True, exit_code=failure.exit_code)
        return pa.Table.from_pylist([asdict(answer)])

    def _answer(self, unit: Unit, **values) -> UnitAnswer:
        return UnitAnswer(unit_id=unit.unit_id, node=self.place.node, gpu=self.place.gpu, **values)

    def _here(self) -> str:
        gpu = f"GPU {self.place.gpu} of " if self.place.gpu else ""
        return f"{gpu}host {socket.gethostname()}"

    def _count_here(self, deaths: list[Marker]) -> int:
        return sum(marker.host == socket.gethostname() and marker.gpu == self.place.gpu for marker in deaths)

    def _segment(self, unit: Unit) -> UnitAnswer:
        since = time.perf_counter()
        self.run.require_there()
        uri = self.run.masks_uri(unit.unit_id)
        receipt, replaced = self._committed(unit, uri)
        while receipt is None or replaced:
            has_others = _has_other_places(self.place)
            step = self._next_step(unit.unit_id, others_can_try=has_others and unit.turn < LAST_TURN)
            if step.turn > unit.turn or step.refused:
                return self._answer(unit, reason=step.refused or "")
            if self.place in step.moves_from:
                return self._answer(unit, moves=True)
            rows = self.plan.rows(unit).to_pylist()
            rows = [row | {"video_uri": self.moved.get(row["video_id"], row["video_uri"])} for row in rows]
            if unit.turn == 0 and (absent := self._absent_videos(rows)):
                reason = f"{shown(absent[0])} does not exist there"
                is_blind = not self.has_read and set(absent) == {row["video_uri"] for row in rows}
                return self._answer(unit, reason=reason, absent=True, blind=is_blind)
            if receipt and replaced:
                rows = [row for row in rows if PairKey.of(row) in replaced.retried_pairs]
            sources, refused = {}, []
            if self.source and rows:
                sources, rows, refused = read_sources(self.source, rows)
            job = UnitJob(
                unit_id=unit.unit_id,
                fingerprint=self.run.fingerprint,
                uri=uri,
                rows=rows,
                run_id=self.run.run_id,
                made_with=self.made_with,
                otherwise=self.run.otherwise,
                decides=unit.decides,
                confirm=self.run.require_same,
                step=step,
                replaced=replaced,
                since=since,
                sources=sources,
                refused=refused,
                moves_with=MOVES_WITH if has_others and unit.turn == 0 else frozenset(),
            )
            promised: Future[Receipt | Postponed] = Future()
            with self.queueing:
                self.receipts.put(promised)
                self.jobs.put(job)
            done = promised.result()
            if isinstance(done, Postponed):
                self._note_postponed(done)
                return self._answer(unit, moves=True)
            receipt = done
            # Another command may have replaced the object first, to retry pairs that failed with other statuses.
            crossed = replaced and not receipt.fresh and not receipt.failed.keys().isdisjoint(self.retry_statuses)
            replaced = ReplacedObject.read(uri, self.retry_statuses) if crossed else None
        if receipt.fresh:
            self.metrics.add(receipt)
        frames = receipt.frames - receipt.kept_frames if receipt.fresh else 0
        self.has_read = self.has_read or frames > 0
        return self._answer(unit, receipt=receipt.to_json(), frames=frames)

    def _video_uris(self) -> list[str]:
        """The URIs of all videos of the run."""
        return [self.moved.get(row["video_id"]) or row["video_uri"] for row in self.run.planned_uris().to_pylist()]

    def _absent_videos(self, rows: list[dict]) -> list[str]:
        """Return the local videos that do not exist here, if other nodes may find them."""
        uris = sorted({row["video_uri"] for row in rows})
        absent = [uri for uri in uris if storage.is_local(uri) and not storage.exists(uri)]
        return absent if absent and _has_other_nodes() else []

    def _note_postponed(self, done: Postponed) -> None:
        """Count units whose output is not finite. Raise InfrastructureError after many, if nothing else was made."""
        self.has_read = self.has_read or done.frames > 0
        self.not_finite += "nan" in done.statuses
        if self.not_finite >= MAX_NOT_FINITE and not self.has_read:
            self.error = InfrastructureError(
                f"on {self._here()} the output of the model was not finite in the first "
                f"{self.not_finite} units: its GPU is broken, or else the checkpoint"
            )
            raise self.error

    def _next_step(self, unit_id: str, *, others_can_try: bool) -> RetryStep:
        """Raise InfrastructureError if processes in this place die whatever they do."""
        history = self.tracker.history(unit_id)
        controls = self._count_here(history.controls)
        if controls >= MAX_CONTROL_DEATHS:
            raise InfrastructureError(
                f"{controls} processes have died on {self._here()} while they segmented an empty picture: "
                "something else ends them, such as a full memory or a broken GPU; repeat the command when that is over"
            )
        return next_retry_step(history, others_can_try=others_can_try)

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

    def _work(self, chain: Iterator[Receipt | Postponed]) -> None:
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


def _this_place() -> Place:
    context = ray.get_runtime_context()
    gpus = context.get_accelerator_ids().get("GPU")
    return Place(context.get_node_id(), gpus[0] if gpus else "")


def _has_other_nodes() -> bool:
    return sum(node["Alive"] for node in ray.nodes()) > 1


def _has_other_places(here: Place) -> bool:
    if not here.gpu:
        return _has_other_nodes()
    return sum(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]) > 1
