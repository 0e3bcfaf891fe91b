"""Long videos in windows, with and without an overlap: memory, identity, J&F. Prints Markdown for RESULTS.md.

* memory: peak resident memory of a process that segments a short and a long video, each in its own process. Frames are
  small (32x48) so that 10,000 of them take minutes, with the bundled checkpoint.
* identity: two similar objects that meet where windows share frames. The bundled checkpoint has one query per frame and
  nothing to choose, so candidates are simulated: `SimulatedModel` replaces the model and returns, in another order in
  every window, what a good but imperfect model would answer for the true objects. Everything after it (choice of the
  query, linking, averaging, masks, rows) is what `rvos segment` runs.
* real: J&F of the bundled checkpoint on long synthetic videos.

python benchmarks/long_videos.py [memory] [identity] [real]
"""

import argparse
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image

from jobs.evaluate import EvaluateConfig
from jobs.evaluate import run as evaluate
from model.bundled import FOLDER
from model.families import load_segmenter
from model.referformer.inference.preprocess import MEAN, STD
from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.referformer import Decoding
from model.referformer.network.text_encoder import TextFeatures, TokenBatch
from model.segmenter import Segmenter
from pipeline.datasets.synthetic.shapes import annotation_rows, write_rows
from pipeline.datasets.synthetic.synthetic import SyntheticVideos
from pipeline.drawing.write_video import write_mp4
from pipeline.io import storage
from pipeline.segment.clips import FrameOptions
from pipeline.segment.events import UnitJob
from schemas import rle
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS
from tests.moving_shapes import MovingScene
from tests.one_unit import segment_unit

WINDOW, OVERLAP = 36, 8
WAYS = {
    f"--window {WINDOW}": FrameOptions(window=WINDOW),
    f"--window {WINDOW} --overlap {OVERLAP}": FrameOptions(window=WINDOW, overlap=OVERLAP),
}
MERGED = {"--rules ref-davis17": FrameOptions(window=WINDOW, exclusive=True)}  # two objects of one annotator
HEIGHT, WIDTH = 96, 128

# ------------------------------------------------------------------------------------------------------------ memory


def measure_memory(lengths: list[int]) -> Iterator[str]:
    yield f"| peak MB of the process | {' | '.join(f'{length:,} frames' for length in lengths)} | ratio |"
    yield "| --- |" + " --- |" * (len(lengths) + 1)
    with tempfile.TemporaryDirectory() as folder:
        for length in lengths:
            write_long_video(video_path(folder, length), length)
        for way in WAYS | MERGED:
            peaks = [peak_of_child(folder, length, way) for length in lengths]
            yield f"| `{way}` | {' | '.join(f'{peak:.0f}' for peak in peaks)} | {peaks[-1] / peaks[0]:.3f} |"


def video_path(folder: str, length: int) -> str:
    return f"{folder}/{length}.mp4"


def write_long_video(path: str, length: int) -> None:
    """Rendered as it is written."""
    scene = MovingScene.random(np.random.default_rng(0), 32, 48, 3)
    write_mp4(path, (scene.render(index)[0] for index in range(length)), fps=12)


def peak_of_child(folder: str, length: int, way: str) -> float:
    command = [sys.executable, __file__, "--child", folder, str(length), way]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def child(folder: str, length: int, way: str) -> None:
    """Segment two objects of one video and print the peak of resident memory, MB."""
    torch.set_num_threads(1)
    row = {"video_id": "v", "video_uri": video_path(folder, length)}
    objects = {"0": "the circle", "4": "the square"}
    rows = [row | {"expression_id": number, "expression": text} for number, text in objects.items()]
    segmenter = load_segmenter(FOLDER, device="cpu", short_side=32)
    segmented(rows, segmenter, (WAYS | MERGED)[way], f"{folder}/{length}.parquet")
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(int(peak) / 1024)


def segmented(rows: list[dict], segmenter: Segmenter, options: FrameOptions, out: str) -> str:
    """Segment one unit as `rvos segment` does, in this process."""
    receipt = segment_unit(UnitJob(unit_id="unit", fingerprint="benchmark", uri=out, rows=rows), segmenter, options)
    if receipt.failed:
        raise SystemExit("\n".join(receipt.errors))
    return out


# ---------------------------------------------------------------------------------------------------------- identity

FRAMES = 144
# Where windows meet in both modes: windows begin at 0, 36, 72, 108 without and at 0, 28, 56, 84, 108 with an overlap.
MEETINGS = {
    "short": [(30, 33), (37, 39), (58, 61), (70, 74), (86, 89), (107, 110), (115, 118)],
    "long": [(27, 38), (55, 65), (70, 74), (83, 93), (106, 121)],  # all frames that windows share
}
APPROACH = 4  # frames in which two objects come together, and part again
QUERIES = 5


@dataclass(frozen=True)
class Trap:
    """A kind of scene, and the scores and embeddings of the simulated model in it."""

    meetings: str
    alike: float  # cosine between the distinctive parts of the two embeddings
    clear: bool  # the scores of the first window are clearly different; in all other windows they are close

    @property
    def name(self) -> str:
        hidden = "hidden in all shared frames" if self.meetings == "long" else "hidden in some shared frames"
        looks = "same looks" if self.alike == 1 else "like looks"
        return f"{hidden}, {looks}{'' if self.clear else ', never clear'}"


TRAPS = [
    Trap("short", 0.5, clear=True),
    Trap("short", 1.0, clear=True),
    Trap("long", 0.5, clear=True),
    Trap("long", 1.0, clear=True),
    Trap("short", 0.5, clear=False),
]


@dataclass(frozen=True)
class Meeting:
    """Two like discs that drift, and at each meeting pass or turn back, one in front of the other; all at random."""

    seed: int
    trap: Trap

    def rng(self, *use: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, TRAPS.index(self.trap), *use])

    @cached_property
    def masks(self) -> np.ndarray:
        """bool [2, T, H, W], what is seen of each; the sentence means the first one."""
        rng = self.rng(0)
        apart, front, side = np.ones(FRAMES), np.zeros(FRAMES, int), np.ones(FRAMES)
        for start, stop in MEETINGS[self.trap.meetings]:
            near = np.clip(np.arange(FRAMES), start, stop - 1)
            distance = np.minimum(abs(np.arange(FRAMES) - near) / APPROACH, 1)
            apart = np.minimum(apart, distance)
            front[max(0, start - APPROACH) :] = rng.integers(2)
            side[start:] = side[start - 1] * rng.choice((-1, 1))
        drift = np.cumsum(rng.normal(0, 0.7, (FRAMES, 2)), 0).clip(-12, 12)
        whole = [self._disc(drift + [[36, 0]] * (apart * side * way)[:, None]) for way in (-0.8, 0.8)]
        hidden = [whole[i] & whole[1 - i] & (front != i)[:, None, None] for i in range(2)]
        return np.stack([whole[i] & ~hidden[i] for i in range(2)])

    @staticmethod
    def _disc(offset: np.ndarray) -> np.ndarray:
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        centre = offset + np.array([WIDTH / 2, HEIGHT / 2])
        return (x - centre[:, 0, None, None]) ** 2 + (y - centre[:, 1, None, None]) ** 2 < 13**2


class SimulatedModel(torch.nn.Module):
    """Candidate queries made from the truth, where Segmenter expects ReferFormer.

    Frames carry their number as a colour, sentences the number of their scene. In each window, at random: the order of
    the queries; a score for each object (0.75 and 0.35 where the scores are clear, else about 0.55 and 0.5
    with a deviation of 0.12); masks a pixel off, with noise. In frames where an object is hidden its query has a low
    score, and in half of the windows its mask has slipped onto the other object. The other queries: both objects in
    one, and patches of background. Embeddings: a common part four times as strong as what is the query's own, noise in
    each frame and each window, and the other object's look where the mask has slipped.
    """

    def __init__(self, meetings: list[Meeting]) -> None:
        super().__init__()
        self.meetings = meetings
        self.config = SimpleNamespace(
            backbone=ResNetConfig(), text=SimpleNamespace(max_tokens=64), quality=None, mask_boxes=False
        )
        self.quality_head = None

    def encode_video(self, frames: torch.Tensor, *, valid_indices: torch.Tensor | None = None) -> np.ndarray:
        colour = frames[0, :, :, 0, 0].numpy() * STD + MEAN
        return np.rint(colour[:, 0] * 255).astype(int)

    def encode_text(self, words: TokenBatch) -> TextFeatures:
        number = words.ids[..., None]
        return TextFeatures(words=number, sentence=number[:, 0], position=number, padding=~words.mask)

    def decode(self, places: np.ndarray, text: TextFeatures) -> Decoding:
        meeting = self.meetings[int(text.sentence[0, 0])]
        rng = meeting.rng(1, int(places[0]), len(places))
        candidates, scores, hidden = simulated(meeting, places, rng)
        order = rng.permutation(QUERIES)
        tensors = (torch.from_numpy(x[:, order]).float() for x in (candidates, scores, hidden))
        masks, scores, hidden = tensors
        boxes = torch.full((1, len(places), QUERIES, 4), 0.5)
        logits = scores.clamp(0.01, 0.99).logit()[None, ..., None]
        sizes = torch.tensor([[HEIGHT, WIDTH]])
        return Decoding([hidden], [logits], [boxes], boxes[..., :2], masks, sizes, sentence=hidden[:, 0])

    def masks(self, decoding: Decoding, layer: int = -1, query: int | None = None) -> torch.Tensor:
        chosen = slice(None) if query is None else slice(query, query + 1)
        return decoding.pixels[None, :, chosen]


def simulated(meeting: Meeting, places: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Mask logits [T, Q, h, w], scores [T, Q] and embeddings [T, Q, C] of one window."""
    truth = meeting.masks[:, places]
    seen = truth.sum((2, 3)) > 0.5 * math.pi * 13**2  # [2, T]
    clear = meeting.trap.clear and places[0] == 0
    levels = [0.75, 0.35] if clear else rng.normal((0.55, 0.5), 0.12)
    slipped = rng.random(2) < 0.5
    masks = [np.where((slipped[i] & ~seen[i])[:, None, None], truth[1 - i], truth[i]) for i in range(2)]
    patches = [np.roll(truth[i], (int(rng.integers(30, 60)), int(rng.integers(40, 90))), (1, 2)) for i in range(2)]
    masks = np.stack([*masks, truth.any(0), *patches], 1)
    masks = np.roll(masks, rng.integers(-1, 2, 2), (2, 3))
    scores = np.stack([*(np.where(seen[i], levels[i], 0.15) for i in range(2)), *np.full((3, len(places)), 0.2)], 1)
    scores = scores + rng.normal(0, 0.04, scores.shape)
    return mask_logits(masks, rng), scores, embeddings(meeting, slipped[:, None] & ~seen, rng)


def mask_logits(masks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [T, Q, H, W] -> [T, Q, h, w] at stride 4."""
    small = F.avg_pool2d(torch.from_numpy(masks).float(), 4).numpy()
    return 12 * (small - 0.5) + rng.normal(0, 1.5, small.shape)


def embeddings(meeting: Meeting, slipped: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[T, Q, C]; slipped: bool [2, T]."""
    fixed = meeting.rng(2)
    own = fixed.normal(size=(QUERIES, 32))
    own[1] = meeting.trap.alike * own[0] + math.sqrt(1 - meeting.trap.alike**2) * own[1]
    found = np.repeat(own[None], slipped.shape[1], 0)
    for i in range(2):
        found[slipped[i], i] = own[1 - i]
    common = 4 * fixed.normal(size=32)
    return found + common + rng.normal(0, 0.3, (1, QUERIES, 32)) + rng.normal(0, 0.5, found.shape)


class SceneNumber:
    """A sentence is the number of its scene."""

    def __call__(self, expressions: list[str]) -> TokenBatch:
        ids = torch.tensor([[int(text)] for text in expressions])
        return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))

    def count(self, expression: str) -> int:
        return 3


def measure_identity(scenes: int) -> Iterator[str]:
    yield f"| {scenes} scenes each, simulated candidates | {' | '.join(f'`{way}`: J&F | switches' for way in WAYS)} |"
    yield "| --- |" + " --- |" * (2 * len(WAYS))
    for trap in TRAPS:
        with tempfile.TemporaryDirectory() as folder:
            found = [identity_of(trap, scenes, options, folder) for options in WAYS.values()]
        yield f"| {trap.name} | {' | '.join(f'{100 * score:.1f} | {switches}' for score, switches in found)} |"


def identity_of(trap: Trap, scenes: int, options: FrameOptions, folder: str) -> tuple[float, int]:
    """Mean J&F, and how often in all the mask went over to the other object."""
    meetings = [Meeting(seed, trap) for seed in range(scenes)]
    frames = Path(folder, "frames")
    frames.mkdir(exist_ok=True)
    for index in range(FRAMES):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), index, np.uint8)).save(frames / f"{index:05}.png")
    common = {"video_uri": str(frames), "expression_id": "0", "num_frames": FRAMES, "object_ids": ["0"]}
    rows = [common | {"video_id": f"scene-{i:03}", "expression": str(i)} for i in range(scenes)]
    model = cast(Any, SimulatedModel(meetings))
    segmenter = ReferFormerSegmenter(model, cast(Any, SceneNumber()), device="cpu", short_side=HEIGHT)
    predictions = segmented(rows, segmenter, options, f"{folder}/{options.overlap}.parquet")
    truth = [row for i, one in enumerate(meetings) for row in annotation_rows(f"scene-{i:03}", one.masks)]
    annotations = write_rows(f"{folder}/annotations.parquet", truth, ANNOTATIONS)
    manifest = write_rows(f"{folder}/manifest.parquet", rows, MANIFEST)
    table = pq.read_table(predictions, columns=["video_id", "counts"])
    counts: dict[str, list[bytes]] = {}
    for video, mask in zip(table["video_id"].to_pylist(), table["counts"].to_pylist(), strict=True):
        counts.setdefault(video, []).append(mask)
    switches = sum(switches_of(counts[f"scene-{i:03}"], one) for i, one in enumerate(meetings))
    return j_and_f(predictions, annotations, manifest, f"{folder}/scores-{options.overlap}"), switches


def switches_of(counts: Iterable[bytes], meeting: Meeting) -> int:
    """Count identity switches: changes of the object that the mask covers with an IoU above 0.5.

    Frames count if both objects are visible and the mask covers one of them."""
    on = []
    for index, one in enumerate(counts):
        mask, truth = rle.decode(one, HEIGHT, WIDTH), meeting.masks[:, index]
        if truth.any((1, 2)).all():
            iou = (truth & mask).sum((1, 2)) / (truth | mask).sum((1, 2))
            if iou.max() > 0.5:
                on.append(int(iou.argmax()))
    return int(np.count_nonzero(np.diff(on)))


def j_and_f(predictions: str, annotations: str, manifest: str, out: str) -> float:
    config = EvaluateConfig(predictions=predictions, annotations=annotations, manifest=manifest, out=out)
    return evaluate(config).summary["overall"]["J&F"]


# -------------------------------------------------------------------------------------------------------------- real


def measure_real(videos: int) -> Iterator[str]:
    data = SyntheticVideos(videos=videos, split="test", frames=(FRAMES, FRAMES), expressions=2, seed=2027)
    segmenter = load_segmenter(FOLDER, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        manifest, annotations, _ = data.write(folder)
        rows = pq.read_table(manifest).to_pylist()
        rows = [row | {"video_uri": storage.absolute(row["video_uri"], folder)} for row in rows]
        yield f"| bundled checkpoint, {len(rows)} pairs in {videos} videos of {FRAMES} frames | J&F |"
        yield "| --- | --- |"
        for way, options in WAYS.items():
            predictions = segmented(rows, segmenter, options, f"{folder}/{options.overlap}.parquet")
            score = j_and_f(predictions, annotations, manifest, f"{folder}/scores-{options.overlap}")
            yield f"| `{way}` | {100 * score:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="memory, identity, real; all of them if none is named")
    parser.add_argument("--lengths", nargs="+", type=int, default=[200, 10_000], help="frames of the videos (memory)")
    parser.add_argument("--scenes", type=int, default=120, help="scenes of each kind (identity)")
    parser.add_argument("--videos", type=int, default=12, help="videos (real)")
    parser.add_argument("--child", nargs=3, help="one measured process (used by itself)")
    options = parser.parse_args()
    if options.child:
        folder, length, way = options.child
        child(folder, int(length), way)
        return
    parts = {
        "memory": lambda: measure_memory(options.lengths),
        "identity": lambda: measure_identity(options.scenes),
        "real": lambda: measure_real(options.videos),
    }
    for name in options.parts or parts:
        print(flush=True)
        for line in parts[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main()
