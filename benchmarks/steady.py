"""Measure the overhead of the pipeline: the chain of `rvos segment` against a bare loop over the same units.

python benchmarks/steady.py [--quick] [--only NAME ...]

    steady    one actor, a model that sleeps as long as a GPU would take, 480p
    cpu       one actor, the bundled checkpoint on the same cores as everything else
    scaling   1, 2 and 4 actors that sleep, small videos
    overhead  units of one tiny frame, a model that takes no time
    memory    1,000 units: object store in use, memory of the actor
    4k        one decoding thread on 4K: frames per second, full-size frames held at once

The bare loop decodes, runs the model, encodes and writes in turn, with the same functions but without attempts, commits
and receipts. Rates are from the steady state: from the end of the first unit to the end of the last one, by the
receipts. Start-up is reported on its own.
"""

import argparse
import logging
import os
import re
import statistics
import tempfile
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from model.bundled import BUNDLED
from model.referformer.inference.preprocess import resize
from model.segmenter import Segmentation, Segmenter, SegmenterStats
from pipeline.cluster import session
from pipeline.drawing.write_video import write_mp4
from pipeline.runs.commit import SECONDS
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run, Unit
from pipeline.segment.actor import Invocation
from pipeline.segment.bottleneck import find_bottleneck
from pipeline.segment.clips import ClipEnd, FrameOptions, read_windows, split_rows
from pipeline.segment.model_options import ModelOptions
from pipeline.segment.resources import Resources
from pipeline.segment.spool import FRAME_ROWS
from pipeline.segment.turns import segment_units
from pipeline.segment.write_stage import frame_rows, pair_rows
from pipeline.video.pyav_reader import PyavReader
from schemas.masks import PREDICTIONS
from tests.moving_shapes import MovingScene

OPTIONS = FrameOptions()
PACE = 200.0  # pair-frames per second of the sleeping model; a guess for a GPU in a data centre
ROUNDS = 5  # of loop and chain in turn, part cpu
VIDEOS = 4  # files that the units of a corpus share


class SleepingSegmenter:
    """Sleeps as long as a GPU of this pace would compute. Prepares frames as the real segmenter does."""

    max_tokens = 512
    lookahead = None

    def __init__(self, pace: float, short_side: int):
        self.seconds_per_frame = 1 / pace if pace else 0.0
        self.prepare = partial(resize, short_side=short_side)
        self._masks: dict[tuple[int, ...], np.ndarray] = {}

    def count_tokens(self, expression: str) -> int:
        return len(expression.split()) + 2

    def stats(self) -> SegmenterStats:
        return SegmenterStats()

    def segment(self, frames, size, expressions, keep=None, overlap=None) -> Iterator[Segmentation]:
        count = len(frames if keep is None else keep)
        for _ in expressions:
            time.sleep(self.seconds_per_frame * len(frames))
            boxes = np.tile(np.array([0, 0, size[1], size[0]], np.float32), (count, 1))
            yield Segmentation(self._ellipses(count, *size), np.full(count, 0.5, np.float32), boxes, 0, None, True)

    def _ellipses(self, count: int, height: int, width: int) -> np.ndarray:
        """bool [count, H, W], column by column in memory; cached, since a GPU would not use this process's time."""
        key = (count, height, width)
        if key not in self._masks:
            y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
            shapes = [(x - 0.01 * i) ** 2 * 9 + y**2 * 4 < 1 + 0.2 * np.sin(9 * x + i) for i in range(count)]
            self._masks[key] = np.stack([shape.T for shape in shapes]).transpose(0, 2, 1)
        return self._masks[key]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sleeping:
    """Replaces ModelOptions. Each actor creates a file in `pids`, named by its process id."""

    pace: float
    short_side: int
    pids: str

    def load(self) -> SleepingSegmenter:
        Path(self.pids, str(os.getpid())).touch()
        return SleepingSegmenter(self.pace, self.short_side)


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Videos of moving shapes; `units` of one video with several expressions each."""

    units: int
    expressions: int
    frames: int
    height: int
    width: int

    def plan(self, folder: str) -> tuple[Run, list[Unit]]:
        """Write the videos if needed, and plan a new run over them."""
        paths = [f"{folder}/{self.height}x{self.frames}-{i}.mp4" for i in range(VIDEOS)]
        for number, path in enumerate(paths):
            if not os.path.exists(path):
                write_mp4(path, shapes(number, self.frames, self.height, self.width), fps=12)
        rows = [
            {
                "video_id": f"v{unit:05}",
                "video_uri": paths[unit % VIDEOS],
                "expression_id": str(number),
                "expression": f"the shape with number {number}",
                "num_frames": self.frames,
            }
            for unit in range(self.units)
            for number in range(self.expressions)
        ]
        run = Run.start(f"{folder}/run-{uuid.uuid4().hex[:8]}", "f", {}, {})
        run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions(unit_frames=self.frames * self.expressions))
        assert len(run.units()) == self.units
        return run, run.units()


def shapes(seed: int, frames: int, height: int, width: int) -> Iterator[np.ndarray]:
    """The frames of a video."""
    scene = MovingScene.random(np.random.default_rng(seed), height, width, 4)
    return (scene.render(index)[0] for index in range(frames))


@dataclass(frozen=True, kw_only=True, slots=True)
class Steady:
    """Measurements from the end of the first unit to the end of the last one."""

    rate: float  # pair-frames per second
    unit_ms: float
    startup: float  # seconds before that
    busy: float = 1.0  # share of the actors' time in the model
    bottleneck: str = ""
    parts: str = ""  # ms per pair-frame of the other threads


def loop(run: Run, units: list[Unit], segmenter: Segmenter | SleepingSegmenter) -> Steady:
    """All units in turn, in this process."""
    ended, frames = [], []
    started = time.perf_counter()
    os.makedirs(f"{run.folder}/loop")
    for unit in units:
        clips, _ = split_rows(PlanReader(run).rows(unit).to_pylist(), OPTIONS)
        tables = []
        for clip in clips:
            for window in read_windows([clip], OPTIONS, segmenter.prepare):
                if isinstance(window, ClipEnd):
                    continue
                expressions = [row["expression"] for row in clip.pairs]
                answers = segmenter.segment(window.frames, window.size, expressions)
                for row, found in zip(clip.pairs, answers, strict=True):
                    columns = frame_rows(window, range(len(window.frames)), found)
                    rows = pa.Table.from_pydict(columns, schema=FRAME_ROWS)
                    tables.append(pair_rows(rows, row, float(found.scores.mean())))
        with pq.ParquetWriter(f"{run.folder}/loop/{unit.unit_id}.parquet", PREDICTIONS, compression="zstd") as writer:
            for table in tables:
                writer.write_table(table)
        ended.append(time.perf_counter())
        frames.append(sum(table.num_rows for table in tables))
    seconds = ended[-1] - ended[0]
    return Steady(rate=sum(frames[1:]) / seconds, unit_ms=1000 * seconds / (len(units) - 1), startup=ended[0] - started)


def chain(run: Run, units: list[Unit], model: ModelOptions | Sleeping, actors: int = 1) -> Steady:
    """Segment the units as `rvos segment` does."""
    started = time.time()
    invocation, resources = Invocation(name=uuid.uuid4().hex), Resources(max_actors=actors, min_actors=actors)
    receipts = list(segment_units(units, run, model, OPTIONS, resources, invocation))  # pyright: ignore[reportArgumentType]
    receipts.sort(key=lambda receipt: receipt.ended)
    first, steady = receipts[actors - 1], receipts[actors:]  # from when all actors work
    seconds = steady[-1].ended - first.ended
    frames = sum(receipt.frames for receipt in steady)
    stages = {name: sum(receipt.seconds[name] for receipt in steady) for name in steady[0].seconds}
    return Steady(
        rate=frames / seconds,
        unit_ms=1000 * seconds / len(steady),
        startup=first.ended - started,
        busy=stages["model"] / (seconds * actors),
        bottleneck=find_bottleneck(stages, seconds, actors, gpus=isinstance(model, Sleeping)).text,
        parts=", ".join(f"{name} {1000 * stages[name] / frames:.2f}" for name in SECONDS if name != "model"),
    )


def compare(title: str, bare: Steady, chained: Steady, target: float) -> None:
    print(f"{title}: {chained.rate:.1f} pair-frames/s against {bare.rate:.1f} of the loop:", end=" ")
    print(f"{chained.rate / bare.rate:.3f} (aim {target}); model busy {chained.busy:.1%};", end=" ")
    print(f"{chained.unit_ms:.1f} and {bare.unit_ms:.1f} ms a unit; start-up and first unit {chained.startup:.1f} s")
    print(f"    bound by {chained.bottleneck}\n    ms a pair-frame: {chained.parts}", flush=True)


def steady(folder: str, share: float) -> None:
    corpus = Corpus(units=round(80 * share), expressions=3, frames=36, height=480, width=854)
    run, units = corpus.plan(folder)
    bare = loop(run, units[: len(units) // 2], SleepingSegmenter(PACE, 360))
    compare("steady", bare, chain(run, units, Sleeping(pace=PACE, short_side=360, pids=folder)), 0.97)


def cpu(folder: str, share: float) -> None:
    """Compare each chain with the loops before and after it: the pace of a shared machine changes within a minute."""
    threads = os.cpu_count() or 1
    corpus = Corpus(units=round(24 * share), expressions=3, frames=12, height=360, width=640)
    model = ModelOptions(checkpoint=BUNDLED, device="cpu", threads=threads)
    loops, chains = [loop(*corpus.plan(folder), model.load())], []
    for _ in range(ROUNDS):
        chains.append(chain(*corpus.plan(folder), model))
        loops.append(loop(*corpus.plan(folder), model.load()))
    bare = [replace(before, rate=(before.rate + after.rate) / 2) for before, after in pairwise(loops)]
    ratios = [chained.rate / one.rate for chained, one in zip(chains, bare, strict=True)]
    rates = [", ".join(f"{one.rate:.1f}" for one in found) for found in (loops, chains)]
    print(f"cpu: loops {rates[0]}, chains between them {rates[1]}: ratios {', '.join(f'{x:.3f}' for x in ratios)}")
    middle = ratios.index(sorted(ratios)[ROUNDS // 2])
    compare("cpu, the median", bare[middle], chains[middle], 0.90)


def scaling(folder: str, share: float) -> None:
    one = None
    for actors in (1, 2, 4):
        corpus = Corpus(units=actors * round(40 * share), expressions=3, frames=36, height=240, width=320)
        run, units = corpus.plan(folder)
        found = chain(run, units, Sleeping(pace=PACE, short_side=240, pids=folder), actors)
        one = one or found.rate
        print(f"scaling: {actors} actors {found.rate:.1f} pair-frames/s,", end=" ")
        print(f"{found.rate / one / actors:.3f} of linear (aim 0.95), model busy {found.busy:.1%}", flush=True)


def overhead(folder: str, share: float) -> None:
    corpus = Corpus(units=round(600 * share), expressions=1, frames=1, height=64, width=64)
    run, units = corpus.plan(folder)
    bare = loop(run, units, SleepingSegmenter(0, 64))
    found = chain(run, units, Sleeping(pace=0, short_side=64, pids=folder))
    print(f"overhead: {found.unit_ms:.2f} ms a unit of one tiny frame, {bare.unit_ms:.2f} of the loop", flush=True)


def memory(folder: str, share: float) -> None:
    corpus = Corpus(units=round(1000 * share), expressions=2, frames=12, height=240, width=320)
    run, units = corpus.plan(folder)
    pids = tempfile.mkdtemp(dir=folder)
    seen: list[tuple[float, float]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1):
            for pid in os.listdir(pids):
                seen.append((object_store_megabytes(), resident_megabytes(pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    found = chain(run, units, Sleeping(pace=0, short_side=240, pids=pids))
    done.set()
    watcher.join()
    resident = [megabytes for _, megabytes in seen[1:]]
    quarter = max(1, len(resident) // 4)
    early, late = statistics.median(resident[:quarter]), statistics.median(resident[-quarter:])
    print(f"memory: {len(units)} units, {found.unit_ms:.1f} ms each; object store at most", end=" ")
    print(f"{max(store for store, _ in seen):.1f} MB (aim 50); actor {early:.0f} MB in the first quarter,", end=" ")
    print(f"{late:.0f} MB in the last, {max(resident):.0f} MB at most", flush=True)


def four_k(folder: str, share: float) -> None:
    frames = round(36 * share)
    write_mp4(f"{folder}/4k.mp4", shapes(0, frames, 2160, 3840), fps=12)
    row = {"video_id": "v", "video_uri": f"{folder}/4k.mp4", "expression_id": "0", "expression": "x"}
    clips, _ = split_rows([row], OPTIONS)
    windows = partial(read_windows, clips, OPTIONS, partial(resize, short_side=360))
    found = next(iter(windows()))
    print(f"4k: {frames / found.seconds:.1f} frames/s of one decoding thread;", end=" ")
    held, alive = 0, []

    def counted(self: PyavReader, image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        nonlocal held
        image = show(self, image, frame)
        alive.append(weakref.ref(image))
        held = max(held, sum(one() is not None for one in alive))
        return image

    show, PyavReader.show = PyavReader.show, counted
    next(iter(windows()))
    PyavReader.show = show
    print(f"{held} full-size frames held at most", flush=True)


def resident_megabytes(pid: str) -> float:
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0]) / 1024


def object_store_megabytes() -> float:
    """Return the object store memory in use on all nodes, as Ray counts it."""
    from ray._private.internal_api import memory_summary

    text = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    used = re.findall(r"Plasma memory usage ([\d.]+) MiB", text)
    assert used, text
    return sum(map(float, used))


PARTS = {"steady": steady, "cpu": cpu, "scaling": scaling, "overhead": overhead, "memory": memory, "4k": four_k}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    options = parser.parse_args()
    for name, value in {**session.QUIET, **session.THREADS, "RAY_AUTH_MODE": "disabled"}.items():
        os.environ.setdefault(name, value)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    cluster = {"num_cpus": 8, "include_dashboard": False, "object_store_memory": session.OBJECT_STORE_BYTES}
    ray.init(address="local", log_to_driver=False, logging_level=logging.ERROR, **cluster)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only:
            PARTS[name](folder, 0.1 if options.quick else 1.0)
    ray.shutdown()
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
