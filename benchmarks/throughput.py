"""Pair-frames per second of the model: `Segmenter` against the published way (published_way.py), in turn in one
process.

One video, several expressions, one window. Both ways decode, resize, run the model, make masks at the video's size and
encode them; in fp32 the masks must be equal except where the baseline's logit is within 4e-3 of the cut. Weights are
random but for the last bias, which is set so that about half of the pixels are mask: what is computed costs the same.

The split by part is in CPU seconds, all threads summed, which other work on the machine changes less than wall time.
On a GPU the first round, which loads kernels or compiles, is left out.

python benchmarks/throughput.py [--backbone resnet50] [--frames 16] [--expressions 8 ...] [--precision fp32]
    [--device cpu] [--compile] [--rounds 1] [--threads N] [--json]
"""

import argparse
import json
import math
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import published_way
import torch
from torch import nn

from model.referformer.config import PUBLISHED, ReferFormerConfig
from model.referformer.inference.fast_modes import COMPILED
from model.referformer.inference.segmenter import PRECISIONS, ReferFormerSegmenter
from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch
from model.segmenter import Segmenter
from pipeline.drawing.write_video import write_mp4
from pipeline.video import Selection, read_frames
from schemas import rle
from tests.moving_shapes import MovingScene

SIZE = (360, 640)
LOGIT_MARGIN = 4e-3
SENTENCES = [
    f"the {colour} {kind} on the left" for colour in ("red", "blue") for kind in ("circle", "square", "star", "ring")
]
PARTS = {
    "backbone": "backbone.0.body",
    "text encoder": "text_encoder",
    "fusion": "fusion_module",
    "deformable encoder": "transformer.encoder",
    "deformable decoder": "transformer.decoder",
    "pixel decoder": "pixel_decoder",
    "mask head": "mask_head",
}
WALL = "all, wall time"
Seconds = dict[str, float]
T = TypeVar("T")


class Measured(NamedTuple):
    """One comparison; seconds by part."""

    count: int  # expressions of refervos
    baseline: int  # and of the published way
    ours: Seconds
    theirs: Seconds
    peak: float  # GiB of refervos
    differ: str  # how many pixels differ, and by how much


class Words:
    """A tokenizer of ten tokens for any sentence."""

    def __call__(self, sentences: list[str]) -> TokenBatch:
        ids = [[0, *(3 + ord(letter) for letter in sentence[4:12]), 2] for sentence in sentences]
        return TokenBatch(ids=torch.tensor(ids), mask=torch.ones(len(ids), 10, dtype=torch.bool))

    def count(self, sentence: str) -> int:
        return 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet50", choices=sorted(PUBLISHED))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--expressions", type=int, nargs="+", default=[8])
    parser.add_argument(
        "--precision", default="fp32", choices=sorted(PRECISIONS), help="of refervos; no limit on masks then"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--compile", action="store_true", help="refervos compiles its model; no limit on masks then")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--baseline", type=int, default=8, help="expressions of the baseline; each costs the same")
    parser.add_argument("--threads", type=int, help="of torch; use 1 on a busy machine, since waiting threads spin")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = ReferFormer(ReferFormerConfig.published(options.backbone)).eval()
    segmenter = ReferFormerSegmenter(
        model,
        Words(),  # pyright: ignore[reportArgumentType]
        device=options.device,
        short_side=min(SIZE),
        precision=options.precision,
    )
    half_of_the_pixels(model)
    for name in COMPILED if options.compile else ():
        model.get_submodule(name).compile()
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(folder, options.frames)
        for count in options.expressions:
            for number in range(options.rounds + (options.device == "cuda")):
                result = measure(segmenter, video, (SENTENCES * count)[:count], options)
                if number or options.device == "cpu":
                    (print_json if options.json else report)(options, result)


def measure(segmenter: ReferFormerSegmenter, video: str, sentences: list[str], options: argparse.Namespace) -> Measured:
    """Run both ways once, and compare their masks."""
    model = segmenter.model
    few = sentences[: options.baseline]
    ours, seconds = timed(model, lambda clock: segment_all(segmenter, video, sentences, clock))
    peak = peak_gib(options.device)
    with torch.compiler.set_stance("force_eager"):
        theirs, slow = timed(model, lambda clock: one_by_one(model, segmenter, video, few, clock))
    exact = options.precision == "fp32" and not options.compile
    differ = compare(ours, theirs, LOGIT_MARGIN if exact else math.inf)
    return Measured(len(sentences), len(few), seconds, slow, peak, differ)


@torch.inference_mode()
def half_of_the_pixels(model: ReferFormer) -> None:
    """Move the last bias of the dynamic convolution so that the mask logits of noise have their median at the cut."""
    device = next(model.parameters()).device
    output = model(torch.randn(1, 1, 3, *SIZE, device=device), Words()(SENTENCES[:1]).to(device))
    model.controller.get_parameter("layers.2.bias")[-1] -= output.masks.median()


def make_video(folder: str, frames: int) -> str:
    """A video of moving shapes at SIZE."""
    uri = str(Path(folder) / "video.mp4")
    scene = MovingScene.random(np.random.default_rng(0), *SIZE, 4)
    write_mp4(uri, (scene.render(index)[0] for index in range(frames)), fps=12)
    return uri


def segment_all(segmenter: Segmenter, video: str, sentences: list[str], clock: Seconds) -> list[np.ndarray]:
    """The product's way: one decoding, one backbone pass."""
    with part(clock, "decode and resize"):
        frames = [segmenter.prepare(frame.image) for frame in read_frames(video, Selection())]
    found = []
    answers = segmenter.segment(frames, SIZE, sentences)
    for answer in answers:
        with part(clock, "RLE"):
            rle.encode(answer.masks)
        found.append(answer.masks)
    return found


def one_by_one(
    model: ReferFormer, segmenter: ReferFormerSegmenter, video: str, sentences: list[str], clock: Seconds
) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Segment in the published way: compute everything again for each expression."""
    found = []
    for sentence in sentences:
        with part(clock, "decode and resize"):
            frames = [segmenter.prepare(frame.image) for frame in read_frames(video, Selection())]
        masks, logits = published_way.segment(model, frames, segmenter.network.tokenizer([sentence]), SIZE)
        with part(clock, "RLE"):
            rle.encode(masks)
        found.append((masks, logits.half()))
    return found


def peak_gib(device: str) -> float:
    """Return the most memory in use since the last call, of the GPU, or of this process since its start."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


def timed(model: nn.Module, run: Callable[[Seconds], T]) -> tuple[T, Seconds]:
    """Return the result of `run` and its seconds by part."""
    clock: Seconds = defaultdict(float)
    handles = [handle for name, path in PARTS.items() for handle in watch(model.get_submodule(path), name, clock)]
    wall, cpu = time.perf_counter(), time.process_time()
    result = run(clock)  # masks in host memory, so the GPU has ended
    total = time.process_time() - cpu
    for handle in handles:
        handle.remove()
    clock["all else"] = total - sum(clock.values())
    return result, clock | {"all": total, WALL: time.perf_counter() - wall}


def watch(module: nn.Module, name: str, clock: Seconds) -> Iterator[torch.utils.hooks.RemovableHandle]:
    """Count the module's forward passes up in `clock`."""
    yield module.register_forward_pre_hook(lambda *_: clock.update({name: clock[name] - time.process_time()}))
    yield module.register_forward_hook(lambda *_: clock.update({name: clock[name] + time.process_time()}))


@contextmanager
def part(clock: Seconds, name: str) -> Iterator[None]:
    started = time.process_time()
    yield
    clock[name] += time.process_time() - started


def compare(ours: list[np.ndarray], theirs: list[tuple[np.ndarray, torch.Tensor]], margin: float) -> str:
    """Raises AssertionError where masks differ at a logit of `margin` or more."""
    different = pixels = 0
    worst = 0.0
    for mask, (other, logits) in zip(ours, theirs, strict=False):
        unequal = mask != other
        different, pixels = different + int(unequal.sum()), pixels + unequal.size
        if unequal.any():
            worst = max(worst, float(logits[torch.from_numpy(unequal)].abs().max()))
    assert worst < margin, f"masks differ at a logit of {worst}"
    share = np.mean([mask.mean() for mask in ours])
    return f"{different} of {pixels:,} pixels differ, at logits below {worst:.1e}; {share:.0%} of the pixels are mask"


def rates_of(options: argparse.Namespace, result: Measured) -> tuple[float, float]:
    """Return pair-frames per second of refervos and of the published way."""
    frames = options.frames
    return result.count * frames / result.ours[WALL], result.baseline * frames / result.theirs[WALL]


def print_json(options: argparse.Namespace, result: Measured) -> None:
    refervos, published = rates_of(options, result)
    print(
        json.dumps(
            {
                "backbone": options.backbone,
                "precision": options.precision,
                "compile": options.compile,
                "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
                "frames": options.frames,
                "expressions": result.count,
                "refervos": refervos,
                "published_way": published,
                "decode_seconds": result.ours["decode and resize"],
                "peak_gib": result.peak,
                "differ": result.differ,
            }
        ),
        flush=True,
    )


def report(options: argparse.Namespace, result: Measured) -> None:
    rates = rates_of(options, result)
    ours, theirs = result.ours, result.theirs
    cpu = theirs["all"] / result.baseline / (ours["all"] / result.count)
    print(
        f"{options.backbone}, {options.precision}, {SIZE[0]}x{SIZE[1]}, {options.frames} frames, "
        f"{result.count} expressions, {torch.get_num_threads()} threads\n\n"
        f"pair-frames/s: {rates[0]:.3f} against {rates[1]:.3f}: **{rates[0] / rates[1]:.2f} times** "
        f"({cpu:.2f} in CPU seconds)\n{result.differ}\npeak memory {result.peak:.1f} GiB\n\n"
        "| part, CPU seconds per expression | published way | refervos |\n| --- | --- | --- |"
    )
    names = sorted(theirs, key=lambda name: -theirs[name])
    for name in names:
        print(f"| {name} | {theirs[name] / result.baseline:.2f} | {ours[name] / result.count:.2f} |")
    print(flush=True)


if __name__ == "__main__":
    main()
