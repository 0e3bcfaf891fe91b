"""Measure the first minute: from Enter to the first committed mask, against a bare script that only imports and waits.

python benchmarks/startup.py [--rounds N] [--against CHECKOUT]

The bare script starts Ray with one actor, which imports torch and the RoBERTa of transformers. `rvos segment` is run on
four synthetic videos with the bundled checkpoint, as its own process; --against runs another checkout of refervos too.
All take turns in each round. The breakdown follows from the files of the run: run.json when the input is checked and
planned, a marker of the actor when it has imported its modules, a marker of the first unit when its model is loaded.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = {  # of a run, by the file that shows its end
    "check and plan": "run.json",
    "start Ray, import in the actor": "attempts/_start/*",
    "load the model": "attempts/[!_]*/*",
    "first unit": "masks/*.parquet",
}
BARE = """
import ray
ray.init(address="local", include_dashboard=False, log_to_driver=False)
@ray.remote
class Actor:
    def load(self):
        import torch
        from transformers.models.roberta import modeling_roberta
actor = Actor.remote()
ray.get(actor.load.remote())
print("ready", flush=True)
"""


def rvos(checkout: Path, *words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", "from refervos import main; main()", *words],
        cwd=checkout,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def bare_seconds() -> float:
    """Return the seconds until the actor of the bare script has imported everything."""
    began = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", BARE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        return time.perf_counter() - began


def run_seconds(checkout: Path, manifest: str, run: Path) -> list[float]:
    """Return the seconds until each of STEPS is over."""
    began, reached = time.perf_counter(), []
    with rvos(checkout, "segment", manifest, str(run)) as process:
        for pattern in STEPS.values():
            while not any(run.glob(pattern)) and not any(run.glob("masks/*.parquet")):
                assert process.poll() is None, "the run ended before"
                time.sleep(0.01)
            reached.append(time.perf_counter() - began)
    return reached


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    checkouts = [each for each in (options.against, ROOT) if each]
    assert all((each / "refervos.py").exists() for each in checkouts), "a checkout must hold refervos.py"
    bare: list[float] = []
    runs: dict[Path, list[list[float]]] = {each: [] for each in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        assert rvos(ROOT, "synth", "--out", data, "--videos", "4", "--expressions", "1", "--frames", "24").wait() == 0
        for number in range(options.rounds):
            bare.append(bare_seconds())
            for index, checkout in enumerate(checkouts):
                run = Path(folder, f"run-{number}-{index}")
                runs[checkout].append(run_seconds(checkout, f"{data}/manifest.parquet", run))
    baseline = float(np.median(bare))
    print(f"bare script: {baseline:.1f} s, the median of {', '.join(f'{each:.1f}' for each in bare)}")
    for checkout, found in runs.items():
        median = np.median(found, axis=0)
        print(
            f"{checkout.name}: {median[-1]:.1f} s to the first mask, {median[-1] / baseline:.2f} times the bare script"
        )
        for name, begin, end in zip(STEPS, [0.0, *median], median, strict=False):
            print(f"    {end - begin:5.1f} s  {name}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
