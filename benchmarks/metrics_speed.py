"""Speed of `rvos evaluate` against vos-benchmark's evaluator, both timed in turn in one run.

python -m pip install vos-benchmark==0.1.0 opencv-python-headless
python benchmarks/metrics_speed.py

vos-benchmark gets its best case: masks decoded beforehand, in memory, C order, OpenCV at one thread, heap trimming off.
This project starts from the Parquet files and ends with frame_scores.parquet: planning, reading, joining, J, F.
Rates are of CPU time and one process, but for the two-process line, which is of the wall clock.
"""

import argparse
import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.evaluation.metrics import bit_canvas
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.scoring.collect import collect
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.scoring.tasks import plan_scoring
from pipeline.masks.annotations import Annotations
from pipeline.masks.pairs_to_score import pairs_from_annotations
from pipeline.masks.predictions import read_predictions
from schemas import rle

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "metrics"
REAL = ["bike-packing", "judo", "libby", "shooting"]  # 480p tracks of the golden figures
GROUP = 128  # rows of a row group: about a pair, as `rvos segment` writes them
SIZES = {"480p": None, "1080p": (1080, 1920)}
MAIN = (
    "import time; t = time.perf_counter(); from pipeline.evaluation.metrics import count_pixels; import numpy as np; "
)
FIRST_USE = MAIN + (
    "from schemas import rle; s = np.frombuffer(rle.empty(4, 4), np.uint8); z = np.zeros(1, np.int64); "
    "count_pixels.score_frames(s, np.array([0, len(s)]), np.array([0, 1]), z, z, z - 1, z + 4, z + 4); "
    "print(f'{time.perf_counter() - t:.2f} s, CPU {time.process_time():.2f} s')"
)


def real_tracks(size: tuple[int, int] | None, frames: int) -> dict[str, pa.Table]:
    """The real tracks of the golden figures, scaled to `size`, every n-th frame so that about `frames` are left."""
    tables = {name: pq.read_table(GOLDEN / f"{name}.parquet") for name in ("gt", "pred")}
    found = {}
    for name, table in tables.items():
        rows = table.filter(pc.is_in(table["video_id"], pa.array(REAL))).to_pylist()
        rows = rows[:: max(1, len(rows) // frames)]
        found[name] = pa.Table.from_pylist([scaled(row, size) for row in rows], schema=table.schema)
    return found


def scaled(row: dict, size: tuple[int, int] | None) -> dict:
    if size is None:
        return row
    mask = rle.decode(row["counts"], row["height"], row["width"])
    y, x = (np.arange(new) * old // new for new, old in zip(size, mask.shape, strict=True))
    large = np.ascontiguousarray(mask[np.ix_(y, x)])
    return row | {"height": size[0], "width": size[1], "counts": rle.encode(large[None])[0]}


def write_many(tables: dict[str, pa.Table], copies: int, folder: Path) -> tuple[str, str]:
    """Both tables `copies` times, each copy with video ids of its own; returns the paths of predictions and truth."""
    for name, table in tables.items():
        parts = [
            table.set_column(0, "video_id", pc.binary_join_element_wise(f"{copy:03}", table["video_id"], "-"))
            for copy in range(copies)
        ]
        pq.write_table(pa.concat_tables(parts), folder / f"{name}.parquet", row_group_size=GROUP, compression="zstd")
    return str(folder / "pred.parquet"), str(folder / "gt.parquet")


def evaluate(predictions: str, annotations: str, folder: Path) -> None:
    """Score as `rvos evaluate` does, up to frame_scores.parquet."""
    scorer, tasks = plan(predictions, annotations)
    collect(map(scorer, tasks), scorer.metrics, str(folder / "frame_scores.parquet"))


def plan(predictions: str, annotations: str) -> tuple[Scorer, list[pa.Table]]:
    truth, source = Annotations.open(annotations), read_predictions(predictions)
    tasks, _, _ = plan_scoring(
        source, pairs_from_annotations(truth.keys_by_video(), truth.key, False), whole_videos=False
    )
    return Scorer(source=source, truth=truth, protocol=PROTOCOLS["all-frames"]), tasks


def peer(tables: dict[str, pa.Table], frames: int) -> tuple[Callable[[], None], int]:
    """vos-benchmark over some frames, decoded here, and how many these are."""
    import cv2  # pyright: ignore[reportMissingImports]
    from vos_benchmark.evaluator import Evaluator  # pyright: ignore[reportMissingImports]

    cv2.setNumThreads(1)
    pairs = []
    for truth, found in zip(tables["gt"].to_pylist(), tables["pred"].to_pylist(), strict=True):
        sides = [rle.decode(row["counts"], row["height"], row["width"]) for row in (found, truth)]
        pairs.append([np.ascontiguousarray(side).astype(np.uint8) for side in sides])
    pairs = [pair for pair in pairs if pair[0].any() or pair[1].any()][:: max(1, len(pairs) // frames)]

    def run() -> None:
        evaluator = Evaluator()
        for mask, truth in pairs:
            evaluator.feed_frame(mask, truth)

    return run, len(pairs)


def cpu(function: Callable[[], object]) -> float:
    started = time.process_time()
    function()
    return time.process_time() - started


def in_turn(size: str, options: argparse.Namespace, folder: Path) -> None:
    tables = real_tracks(SIZES[size], options.frames if size == "480p" else options.frames // 4)
    copies = options.copies if size == "480p" else 3 * options.copies
    predictions, annotations = write_many(tables, copies, folder)
    count = copies * len(tables["gt"])
    theirs, peer_frames = peer(tables, 120 if size == "480p" else 16)
    rates: dict[str, list[float]] = {"rvos": [], "vos-benchmark": []}
    evaluate(predictions, annotations, folder)
    theirs()
    for _ in range(options.rounds):
        rates["vos-benchmark"].append(peer_frames / cpu(theirs))
        rates["rvos"].append(count / cpu(lambda: evaluate(predictions, annotations, folder)))
    print(f"{size}: {count} object-frames, load average {os.getloadavg()[0]:.1f}")
    for name, found in rates.items():
        print(f"  {name:<14}{statistics.median(found):9.1f}/s   ({', '.join(f'{rate:.0f}' for rate in found)})")
    print(f"  ratio         {statistics.median(rates['rvos']) / statistics.median(rates['vos-benchmark']):9.1f}")
    stages(predictions, annotations, folder, count)
    two_processes(predictions, annotations, count, options.rounds)


def stages(predictions: str, annotations: str, folder: Path, count: int) -> None:
    """Print the CPU time of each stage in microseconds per object-frame, by stopping the kernel after each."""
    strings = pa.concat_tables([pq.read_table(path) for path in (annotations, predictions)], promote_options="default")
    _, offsets, content = strings["counts"].cast(pa.large_binary()).combine_chunks().buffers()
    data, starts = np.frombuffer(content, np.uint8), np.frombuffer(offsets, np.int64)[: len(strings) + 1]
    heights, widths = (strings[name].to_numpy().astype(np.int64)[:count] for name in ("height", "width"))
    took = [0.0]
    for last in range(4):
        until(data, starts, heights, widths, last)
        took.append(min(cpu(lambda last=last: until(data, starts, heights, widths, last)) for _ in range(3)))
    parquet = min(cpu(lambda: [pq.read_table(path) for path in (annotations, predictions)]) for _ in range(3))
    total = min(cpu(lambda: evaluate(predictions, annotations, folder)) for _ in range(3))
    parts = dict(zip(("parsing", "drawing", "boundary", "matching"), np.diff(took).tolist(), strict=True))
    parts |= {"Parquet": parquet, "planning, joining, writing": total - took[-1] - parquet}
    shares = ", ".join(f"{name} {1e6 * part / count:.1f} us ({part / total:.0%})" for name, part in parts.items())
    print(f"  of {1e6 * total / count:.1f} us: {shares}")


@numba.njit(nogil=True)
def until(strings, starts, heights, widths, last):
    """The kernel over n frames (truth strings first, then predictions), stopping after stage `last`: parsing, drawing,
    boundary, matching."""
    frames = heights.size
    counts = np.zeros((frames, 7), np.int64)
    box = np.zeros(4, np.int64)
    canvas = np.zeros((6, 1, 1), np.uint64)
    height = width = radius = np.int64(0)
    for n in range(frames):
        if last == 0:
            for row in (n, frames + n):
                counts[n, 0] += bit_canvas._parse(strings, starts, row, heights[n] * widths[n]).size
            continue
        if height != heights[n] or width != widths[n]:
            height, width = heights[n], widths[n]
            radius = np.int64(np.ceil(bit_canvas.BOUND * np.sqrt(np.float64(height * height + width * width))))
            canvas = np.zeros(
                (6, (height >> 6) + 2 + 2 * bit_canvas._margin(radius), width + 1 + 2 * radius), np.uint64
            )
        box[0], box[1], box[2], box[3] = canvas.shape[1], 0, canvas.shape[2], 0
        bit_canvas._paint(strings, starts, n, height, width, radius, canvas[0], canvas[1], box)
        bit_canvas._paint(strings, starts, frames + n, height, width, radius, canvas[0], canvas[2], box)
        if last == 2:
            bit_canvas._draw_boundaries(canvas, box, height, width, radius, counts[n])
        elif last == 3:
            bit_canvas._score_frame(canvas, box, height, width, radius, counts[n])
        for plane in range(1, 6):
            bit_canvas._clear(canvas[plane], box[0], box[1], box[2], box[3] + 1)
    return counts


def two_processes(predictions: str, annotations: str, count: int, rounds: int) -> None:
    scorer, tasks = plan(predictions, annotations)
    walls = {}
    for workers in (1, 2):
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(scorer, tasks))
            found = []
            for _ in range(rounds):
                started = time.perf_counter()
                list(pool.map(scorer, tasks))
                found.append(time.perf_counter() - started)
        walls[workers] = min(found)
    rates = ", ".join(f"{workers} workers {count / wall:.0f}/s" for workers, wall in walls.items())
    print(f"  wall clock: {rates}, ratio {walls[1] / walls[2]:.2f}, load average {os.getloadavg()[0]:.1f}")


def first_use(folder: Path) -> None:
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder / "numba"), "PYTHONPATH": str(Path(__file__).parents[1])}
    for name in ("first use, compiling", "later, from the cache"):
        done = subprocess.run(
            [sys.executable, "-c", FIRST_USE], env=environment, capture_output=True, text=True, check=True
        )
        print(f"{name}: {done.stdout.strip()}, load average {os.getloadavg()[0]:.1f}")


def memory(folder: Path) -> None:
    """Peak memory of a fresh process for a short table, and for longer ones."""
    tables = real_tracks(None, 10_000)
    for copies in (8, 40, 120):
        paths = write_many(tables, copies, folder)
        code = (
            "import sys; from pathlib import Path; sys.path.insert(0, 'benchmarks'); import metrics_speed as m; "
            "m.evaluate(sys.argv[1], sys.argv[2], Path(sys.argv[3])); "
            "print(m.peak_megabytes())"
        )
        here = Path(__file__).parents[1]
        done = subprocess.run(
            [sys.executable, "-c", code, *paths, str(folder)],
            cwd=here,
            env=os.environ | {"PYTHONPATH": f"{here}:{os.environ.get('PYTHONPATH', '')}"},
            capture_output=True,
            text=True,
            check=True,
        )
        print(f"peak memory, {copies * len(tables['gt'])} object-frames: {done.stdout.strip()} MB")


def peak_megabytes() -> int:
    """Return the peak memory of this process alone; getrusage includes the peak of its parent."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=520, help="distinct object-frames at 480p")
    parser.add_argument("--copies", type=int, default=16)
    options = parser.parse_args()
    for setting in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        ctypes.CDLL(None).mallopt(setting, 1 << 30)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first_use(folder)
        for size in SIZES:
            in_turn(size, options, folder)
        memory(folder)


if __name__ == "__main__":
    main()
