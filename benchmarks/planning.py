"""Measure planning and resuming of large manifests: seconds and memory of the driver until the first unit would start.

python benchmarks/planning.py --pairs 5000000 --committed 20000
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EXPRESSIONS = 5  # per video


def make_manifest(path: str, pairs: int) -> None:
    video = np.arange(pairs) // EXPRESSIONS
    frames = np.random.default_rng(0).integers(20, 200, pairs // EXPRESSIONS + 1, np.int32)[video]
    ids = np.char.mod("video%08d", video)
    table = pa.table(
        {
            "video_id": ids,
            "video_uri": np.char.add(np.char.add("s3://corpus/videos/", ids), ".mp4"),
            "expression_id": (np.arange(pairs) % EXPRESSIONS).astype(str),
            "expression": pa.repeat("the person in the red jacket walking to the left", pairs),
            "num_frames": frames,
        }
    )
    pq.write_table(table, path)


def prepare(step: str, folder: str) -> None:
    from jobs import segment

    started = time.perf_counter()
    config = segment.SegmentConfig(manifest=f"{folder}/manifest.parquet", run=f"{folder}/run", checkpoint="tiny")
    _, units, todo, *_ = segment.prepare(config)
    seconds = time.perf_counter() - started
    print(
        f"{step}: {seconds:.1f} s, {time.process_time():.1f} s of CPU with imports, "
        f"{len(units)} units, {len(todo)} to do, peak memory {peak_megabytes()} MB",
        flush=True,
    )


def peak_megabytes() -> int:
    """Peak of this process alone; getrusage includes the parent."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024


def commit(folder: str, count: int) -> None:
    """Commit `count` units with an error row each, as a run would."""
    from pipeline.runs.commit import Receipt, UnitWriter
    from pipeline.runs.run import Run
    from pipeline.segment.write_stage import error_row

    run = Run.open(f"{folder}/run")
    for unit in run.units()[:count]:
        row = {"video_id": "v", "expression_id": unit.unit_id}
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, run.fingerprint)) as writer:
            writer.write(error_row(row, "missing", "no such file"))
            writer.commit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--committed", type=int, default=20_000)
    parser.add_argument("--step", nargs=2, metavar=("STEP", "FOLDER"), help="internal: measure one process")
    options = parser.parse_args()
    if options.step:
        prepare(*options.step)
        return
    with tempfile.TemporaryDirectory() as folder:
        make_manifest(f"{folder}/manifest.parquet", options.pairs)
        for step in ("plan", "resume"):
            subprocess.run([sys.executable, __file__, "--step", step, folder], check=True)
            if step == "plan":
                commit(folder, options.committed)


if __name__ == "__main__":
    main()
