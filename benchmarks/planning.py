"""Planning and resuming of large manifests: seconds and memory of the driver.

python benchmarks/planning.py --pairs 5000000
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time

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


def plan(manifest: str, folder: str) -> None:
    from pipeline.manifest import read_manifest
    from pipeline.runs.plan import PlanOptions
    from pipeline.runs.run import Run

    for step in ("plan", "resume"):
        started = time.perf_counter()
        run = Run.start(folder, "0" * 32, {}, {})
        run.extend_plan(read_manifest(manifest), manifest, PlanOptions())
        units = run.units()
        done = run.committed()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = time.perf_counter() - started
        print(f"{step}: {seconds:.1f} s, {len(units)} units, {len(done)} committed, peak memory {peak:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5_000_000)
    parser.add_argument("--plan", nargs=2, metavar=("MANIFEST", "RUN"), help="one measured process (used by itself)")
    options = parser.parse_args()
    if options.plan:
        plan(*options.plan)
        return
    with tempfile.TemporaryDirectory() as folder:
        manifest = f"{folder}/manifest.parquet"
        make_manifest(manifest, options.pairs)
        subprocess.run([sys.executable, __file__, "--plan", manifest, f"{folder}/run"], check=True)


if __name__ == "__main__":
    main()
