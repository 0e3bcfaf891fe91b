"""Peak memory of exports by the number of pairs: flat except for the manifest and the directory of a zip.

python benchmarks/export_memory.py --pairs 200
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

EXPRESSIONS, FRAMES, HEIGHT, WIDTH = 4, 20, 360, 640  # of each video
STEPS = ("import", "submission", "webdataset")


def make_run(folder: str, pairs: int) -> None:
    """Write a finished run with masks of moving disks, and a small file for each video."""
    from pipeline.io import storage
    from pipeline.runs.commit import Receipt, UnitWriter
    from pipeline.runs.plan import PlanOptions
    from pipeline.runs.plan_reader import PlanReader
    from pipeline.runs.run import Run
    from schemas import rle
    from schemas.masks import PREDICTIONS

    row, column = np.mgrid[:HEIGHT, :WIDTH]
    masks = np.stack([(row - 180) ** 2 + (column - 100 - 20 * frame) ** 2 < 90**2 for frame in range(FRAMES)])
    frames = [
        {"frame_index": index, "frame_name": f"{index:05}", "height": HEIGHT, "width": WIDTH, "counts": counts}
        | {"score": 0.9, "pair_score": 0.9, "status": "ok"}
        for index, counts in enumerate(rle.encode(masks))
    ]
    names = [f"v{number:07}" for number in range(pairs // EXPRESSIONS)]
    content = np.random.default_rng(0).bytes(100_000)
    for name in names:
        storage.write_bytes(f"{folder}/videos/{name}.mp4", content)
    manifest = pa.Table.from_pylist(
        [
            {"video_id": name, "video_uri": f"{folder}/videos/{name}.mp4", "num_frames": FRAMES}
            | {"expression_id": str(number), "expression": "the person in red who walks to the left"}
            for name in names
            for number in range(EXPRESSIONS)
        ]
    )
    run = Run.start(f"{folder}/run", "f", {}, {})
    run.extend_plan(manifest, "m", PlanOptions(unit_frames=2000))
    for unit in run.units():
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, run.fingerprint)) as writer:
            for pair in PlanReader(run).rows(unit).select(["video_id", "expression_id"]).to_pylist():
                writer.write(pa.Table.from_pylist([frame | pair for frame in frames], schema=PREDICTIONS))
            writer.commit()


def export(step: str, folder: str) -> None:
    from jobs import export as job
    from jobs.config.export import SubmissionConfig, WebDatasetConfig

    started = time.perf_counter()
    if step == "submission":
        job.run(SubmissionConfig(run=f"{folder}/run", out=f"{folder}/s.zip", server="mevis"))
    elif step == "webdataset":
        job.run(WebDatasetConfig(run=f"{folder}/run", out=f"{folder}/shards"))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024
    print(f"{step}: peak memory {peak} MB, {time.perf_counter() - started:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--pairs", type=int, default=200, help="pairs of the first round; the second has ten times as many"
    )
    parser.add_argument(
        "--step", nargs=2, metavar=("STEP", "FOLDER"), help="run one step and print its peak memory; used internally"
    )
    options = parser.parse_args()
    if options.step:
        export(*options.step)
        return
    for pairs in (options.pairs, 10 * options.pairs):
        with tempfile.TemporaryDirectory() as folder:
            make_run(folder, pairs)
            print(f"{pairs} pairs, {pairs * FRAMES} masks of {HEIGHT}p")
            for step in STEPS:
                subprocess.run([sys.executable, __file__, "--step", step, folder], check=True)


if __name__ == "__main__":
    main()
