"""Peak memory of `rvos audit` and `rvos compact` by the size of units: flat.

python benchmarks/run_memory.py --frames 64 20480 --units 12
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

PAIRS, HEIGHT, WIDTH = 2, 480, 854  # pairs of a unit
COUNTS_BYTES = 400  # of one mask, not compressible, as those of contours
STEPS = ("audit", "compact")


def make_run(folder: str, units: int, frames: int) -> None:
    """Write a finished run whose units have `frames` masks each. Only the first and last mask of a pair are valid."""
    from pipeline.runs.commit import Receipt, UnitWriter
    from pipeline.runs.plan import PlanOptions
    from pipeline.runs.plan_reader import PlanReader
    from pipeline.runs.run import Run
    from schemas import rle
    from schemas.masks import PREDICTIONS

    each = frames // PAIRS
    manifest = [
        {"video_id": f"v{video:04}", "video_uri": f"/v{video}", "num_frames": each, "expression_id": str(number)}
        | {"expression": "a shape"}
        for video in range(units)
        for number in range(PAIRS)
    ]
    run = Run.start(folder, "f", {}, {})
    run.extend_plan(pa.Table.from_pylist(manifest), "m", PlanOptions(unit_frames=frames))
    rng, valid = np.random.default_rng(0), rle.empty(HEIGHT, WIDTH)
    for unit in run.units():
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, "f", run_id=run.run_id)) as writer:
            for pair in PlanReader(run).rows(unit).to_pylist():
                for start in range(0, each, 32):  # as a window
                    indices = range(start, min(start + 32, each))
                    rows = [
                        {"video_id": pair["video_id"], "expression_id": pair["expression_id"], "frame_index": index}
                        | {"frame_name": f"{index:05}", "height": HEIGHT, "width": WIDTH, "score": 0.5, "status": "ok"}
                        | {"counts": rng.bytes(COUNTS_BYTES)}
                        for index in indices
                    ]
                    rows[0]["counts"] = rows[-1]["counts"] = valid
                    writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS))
            writer.commit()


def do(step: str, folder: str) -> None:
    """Run one step and print the peak memory of this process in MB."""
    from pipeline.runs.audit import audit_run
    from pipeline.runs.compact import compact_run
    from pipeline.runs.run import Run

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if step == "audit":
        print(audit_run(Run.open(folder)).counts or "clean", end=" ")
    else:
        with tempfile.TemporaryDirectory() as out:
            print(compact_run(Run.open(folder), f"{out}/compacted")[0].rows, end=" ")
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB, {before // 1024} MB of it at the start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=12)
    parser.add_argument("--frames", type=int, nargs="+", default=[64, 20_480])
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        do(options.step, options.run)
        return
    for frames in options.frames:
        with tempfile.TemporaryDirectory() as folder:
            make_run(f"{folder}/run", options.units, frames)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
            print(f"{options.units} units of {frames} masks, {size / 2**20:.1f} MiB")
            for step in STEPS:
                print(f"  {step}: ", end="", flush=True)
                subprocess.run([sys.executable, __file__, "--step", step, "--run", f"{folder}/run"], check=True)


if __name__ == "__main__":
    main()
