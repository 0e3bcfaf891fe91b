"""Time `rvos evaluate` on two folders of PNGs: 50 videos of 35 frames at 480x854 with three moving ellipses.

    PYTHONPATH=. python benchmarks/png_folders.py FOLDER [CHECKOUT ...]

Draws the masks in FOLDER once, then scores them with this checkout and each other one, in turn, in their own processes.
Prints wall and CPU seconds, and the peak memory of the process.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from pipeline.masks.write_png import palette_png

VIDEOS, FRAMES, HEIGHT, WIDTH = 50, 35, 480, 854
ROOT = Path(__file__).resolve().parents[1]


def draw(folder: Path) -> None:
    """Write truth/ and predictions/, which is the truth four pixels to the left, as label maps."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for video in range(VIDEOS):
        ellipses = rng.uniform((80, 80, 30, 30), (400, 700, 120, 150), (3, 4))  # centre and radii, y then x
        for side, shift in (("truth", 0), ("predictions", 4)):
            place = folder / side / f"{video:02d}"
            place.mkdir(parents=True)
            for t in range(FRAMES):
                labels = np.zeros((HEIGHT, WIDTH), np.uint8)
                for label, (cy, cx, ry, rx) in enumerate(ellipses, 1):
                    distance = ((y - cy - t) / ry) ** 2 + ((x - cx - 2 * t + shift) / rx) ** 2
                    labels[distance < 1 + 0.1 * np.sin(x / 5)] = label
                (place / f"{t:05d}.png").write_bytes(palette_png(labels))


def measure(checkout: Path, folder: Path) -> str:
    """Run the command of a checkout; returns a row of a table."""
    command = [sys.executable, "-m", "cli", "evaluate", str(folder / "predictions"), str(folder / "truth")]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        [*command, "--out", str(folder / "scores"), "--json"], cwd=checkout, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    assert status == 0, f"{checkout}: the command failed"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = f"{usage.ru_maxrss / 1024:.0f} MiB"
    return f"| {checkout.name} | {wall:.1f} s | {cpu:.1f} s | {memory} | {VIDEOS / wall:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkouts", type=Path, nargs="*")
    parser.add_argument("--repeats", type=int, default=2)
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if not (folder / "truth").exists():
        draw(folder)
    print("| checkout | wall | CPU | peak memory | videos per second |\n| --- | --- | --- | --- | --- |")
    for checkout in [ROOT, *(one.resolve() for one in arguments.checkouts)] * arguments.repeats:
        print(measure(checkout, folder), flush=True)


if __name__ == "__main__":
    main()
