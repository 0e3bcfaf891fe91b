"""SAM 2 and SAM 3 with small random weights: encodings of frames, memory over a long video, time beside the bare loop.

python benchmarks/families.py [--frames 800] [--rounds 3]      rounds 0: measure the memory only

The bare loop is the one that transformers publishes: one session for the whole video and one expression or mask.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from model.families import load_refiner, load_segmenter
from model.segmenter import Overlap, Segmenter, SourceMasks
from tests import published_concepts, published_sam
from tests.tiny_sam import LIVELY, write_sam2, write_sam3

SIZE = (72, 96)
SIDE = 24  # of the square that moves
WINDOW = 36
PAIRS = (1, 2, 4)
TEXTS = ("a dog", "red", "a red dog", "blue")
COMPARED_FRAMES, START_FRAMES = 60, 10
MEMORY_POINTS = 8  # at which memory is read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=800, help="of the long video")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        sam2 = write_sam2(Path(folder, "sam2"))
        sam3 = write_sam3(Path(folder, "sam3"), 12, 8.0, **LIVELY)
        families = {"SAM 2, rvos refine": load_refiner(sam2, device="cpu")}
        families["SAM 3, rvos segment"] = load_segmenter(sam3, device="cpu")
        bare = {
            "SAM 2, rvos refine": lambda video: published_sam.published(sam2, "sam2", video, 0, square(0), "mask"),
            "SAM 3, rvos segment": lambda video: published_concepts.published(sam3, video, TEXTS[0]),
        }
        print("| family | encodings per frame: 1, 2, 4 pairs | times the bare loop: 1, 2, 4 pairs | MB after frames |")
        print("| --- | --- | --- | --- |")
        for name, model in families.items():
            cells = ["", ""]
            if options.rounds:
                cells = [
                    ", ".join(f"{encodings(model, pairs):.2f}" for pairs in PAIRS),
                    ", ".join(f"{ratio(model, bare[name], pairs, options.rounds):.2f}" for pairs in PAIRS),
                ]
            cells.append(", ".join(f"{memory:.0f}" for memory in memories(model, options.frames)))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def square(frame: int) -> np.ndarray:
    """Mask of the square in a frame, bool [H, W]."""
    top, left = (2 * frame) % (SIZE[0] - SIDE), (3 * frame) % (SIZE[1] - SIDE)
    mask = np.zeros(SIZE, bool)
    mask[top : top + SIDE, left : left + SIDE] = True
    return mask


def picture(frame: int) -> np.ndarray:
    """A red square over noise, uint8 [H, W, 3]."""
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image[square(frame)] = (220, 40, 30)
    return image


def follow(model: Segmenter, frames: int, pairs: int) -> Iterator[int]:
    """Segment a video window by window, with the square as the source of SAM 2. Yield the number of frames so far."""
    ahead = model.lookahead or 0
    tracks: list = [None] * pairs
    for start, final in pairwise([*range(0, frames, WINDOW - ahead), frames]):
        end = min(frames, final + ahead)
        prepared = [model.prepare(picture(frame)) for frame in range(start, end)]
        overlap = Overlap(start, final, tracks, [source(start, end)] * pairs)
        tracks = [answer.track for answer in model.segment(prepared, SIZE, TEXTS[:pairs], None, overlap)]
        yield final


def source(start: int, end: int) -> SourceMasks:
    count = end - start
    scores = np.full(count, 0.5, np.float32)
    return SourceMasks(np.full(count, SIDE**2), scores, [0.5] * count, lambda frame: square(start + frame))


def encodings(model: Segmenter, pairs: int) -> float:
    """Count how often the vision encoder sees a frame, on average."""
    calls = []
    (encoder,) = {
        module
        for name, module in model.model.named_modules()
        if name in ("vision_encoder", "detector_model.vision_encoder")
    }
    hook = encoder.register_forward_hook(lambda module, inputs, found: calls.append(1))
    for _ in follow(model, COMPARED_FRAMES, pairs):
        pass
    hook.remove()
    return len(calls) / COMPARED_FRAMES


def ratio(model: Segmenter, bare: Callable[[np.ndarray], object], pairs: int, rounds: int) -> float:
    """Return the time for all pairs divided by that of `pairs` bare loops, the median of rounds in turn."""
    found = []
    for _ in range(rounds):
        alone = seconds_per_frame(lambda frames: bare(np.stack([picture(frame) for frame in range(frames)])))
        together = seconds_per_frame(lambda frames: list(follow(model, frames, pairs)))
        found.append(together / (pairs * alone))
    return statistics.median(found)


def seconds_per_frame(run: Callable[[int], object]) -> float:
    """Time a long and a short video: the difference has no part of what happens once, such as loading the model."""
    seconds = []
    for frames in (COMPARED_FRAMES, START_FRAMES):
        started = time.perf_counter()
        run(frames)
        seconds.append(time.perf_counter() - started)
    return (seconds[0] - seconds[1]) / (COMPARED_FRAMES - START_FRAMES)


def memories(model: Segmenter, frames: int) -> list[float]:
    """Return the memory of this process in MB after each eighth of the frames, for two pairs."""
    found, page = [], os.sysconf("SC_PAGE_SIZE")
    for done in follow(model, frames, 2):
        if done * MEMORY_POINTS >= frames * (len(found) + 1):
            found.append(int(Path("/proc/self/statm").read_text().split()[1]) * page / 1e6)
    return found


if __name__ == "__main__":
    main()
