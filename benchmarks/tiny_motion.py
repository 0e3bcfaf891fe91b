"""A model of stills is given convolutions over time, and its backbone learns to name how each shape moves.

It stands in for what published Video-Swin backbones bring from Kinetics: which way something goes can be seen before
sentences begin to speak of it. Heads read the backbone's maps of strides 4, 8 and 16 at each shape, its motion, and its
look so that this is not forgotten; they are thrown away.

python benchmarks/tiny_motion.py --checkpoint run-stills/checkpoint --out moving [--steps 500]
"""

import argparse
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.checkpoint import load_model, save_checkpoint
from model.referformer.inference.preprocess import MEAN, STD
from model.referformer.network.backbones.video_swin import VideoSwin, VideoSwinConfig
from model.referformer.network.referformer import ReferFormer
from pipeline.datasets.synthetic.shape_scenes import LOOKS, MOTIONS, STILL, opposite, paint
from pipeline.datasets.synthetic.synthetic import BACKGROUNDS, SyntheticVideos

HEIGHT, WIDTH, STRIDE, LENGTH, AT_ONCE = 96, 128, 4, 8, 4  # a scene has LENGTH frames, a step looks at AT_ONCE
FOCUSES = ("motion", "motion", None, "absence")
NAMES = ("nothing", STILL, *MOTIONS)
MAPS = 3  # of the backbone, those of strides 4, 8 and 16
CLIPS, RATE, WARMUP = 8, 1e-3, 150
REPORT = 100  # steps
BACKWARDS = {name: opposite(name) for name in MOTIONS}
MIRRORED = {name: opposite(name) for name in ("left", "right")}


@dataclass(frozen=True)
class Scenes:
    """uint8 [N, T, H, W, 3], and int64 [N, T, h, w] at the finest stride: indices into NAMES, and 1 + into LOOKS."""

    frames: np.ndarray
    motions: np.ndarray
    looks: np.ndarray

    @classmethod
    def draw(cls, count: int, seed: int) -> "Scenes":
        with ProcessPoolExecutor(os.cpu_count()) as pool:
            drawn = list(pool.map(_scene, range(count), [seed] * count, chunksize=20))
        return cls(*(np.stack(parts) for parts in zip(*drawn, strict=True)))


def _scene(index: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    videos = SyntheticVideos(
        videos=index + 1, frames=(LENGTH, 12), expressions=1, focus=FOCUSES[index % len(FOCUSES)], seed=seed
    )
    scene, rng = videos.scene(index), np.random.default_rng([seed, index])
    frames = paint(scene.actors, scene.seen, BACKGROUNDS["train"](rng, HEIGHT, WIDTH))
    start = int(rng.integers(len(frames) - LENGTH + 1))
    motions = np.zeros((LENGTH, HEIGHT, WIDTH), np.int64)
    looks = motions.copy()
    for actor, seen in zip(scene.actors, scene.seen[:, start : start + LENGTH], strict=True):
        motions[seen] = NAMES.index(actor.motion)
        looks[seen] = 1 + LOOKS.index(actor.look)
    centres = (..., slice(STRIDE // 2, None, STRIDE), slice(STRIDE // 2, None, STRIDE))
    return frames[start : start + LENGTH], motions[centres], looks[centres]


def with_convolutions(stills: ReferFormer, channels: int) -> ReferFormer:
    """The same model with convolutions over time; what they add is small at first."""
    config = stills.config
    assert isinstance(config.backbone, VideoSwinConfig)
    model = ReferFormer(replace(config, backbone=replace(config.backbone, motion_channels=channels)))
    model.load_state_dict(stills.state_dict(), strict=False)
    stem: Any = backbone_of(model).motion
    nn.init.normal_(stem.proj.weight, std=0.05)
    return model


def backbone_of(model: ReferFormer) -> VideoSwin:
    body: Any = model.backbone[0].body
    return body


class Reading(nn.Module):
    """Per map, classes of each place at the finest stride: [N, classes, h, w]."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(nn.GroupNorm(1, c), nn.Conv2d(c, classes, 1)) for c in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        size = (HEIGHT // STRIDE, WIDTH // STRIDE)
        heads = zip(self.heads, maps, strict=False)
        return [F.interpolate(head(x), size, mode="bilinear", align_corners=False) for head, x in heads]


def batch(scenes: Scenes, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Frames [B, T, 3, H, W] and both labels [B T, h, w]; half of the clips run backwards, half are mirrored."""
    rows, start = rng.integers(len(scenes.frames), size=CLIPS), int(rng.integers(LENGTH - AT_ONCE + 1))
    parts = [x[rows, start : start + AT_ONCE] for x in (scenes.frames, scenes.motions, scenes.looks)]
    frames, motions, looks = (torch.from_numpy(part) for part in parts)
    frames = frames.permute(0, 1, 4, 2, 3)
    for axis, turned in ((-1, MIRRORED), (1, BACKWARDS)):
        if rng.random() < 0.5:
            names = torch.tensor([NAMES.index(turned.get(name, name)) for name in NAMES])
            frames, motions, looks = frames.flip(axis), names[motions.flip(axis)], looks.flip(axis)
    return normalised(frames), motions.flatten(0, 1), looks.flatten(0, 1)


def normalised(frames: Tensor) -> Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (frames / 255 - mean) / std


@torch.no_grad()
def share_right(backbone: nn.Module, reading: Reading, scenes: Scenes) -> list[float]:
    """Per map, at how many places of moving shapes the motion is named rightly."""
    found = []
    for row in range(len(scenes.frames)):
        frames = torch.from_numpy(scenes.frames[row : row + 1]).permute(0, 1, 4, 2, 3)
        motions = torch.from_numpy(scenes.motions[row])
        moving = motions > NAMES.index(STILL)
        named = reading(backbone(normalised(frames)))
        found.append([(x.argmax(1) == motions)[moving].sum().item() for x in named] + [moving.sum().item()])
    *right, places = np.sum(found, axis=0)
    return [float(count / places) for count in right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, help="of stills, a Video-Swin with patches of 4")
    parser.add_argument("--out", required=True, help="new checkpoint folder")
    parser.add_argument("--scenes", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--channels", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)  # several add in an order of their own, which changes the weights from run to run
    rng = np.random.default_rng(0)
    scenes, unseen = Scenes.draw(options.scenes, 901), Scenes.draw(100, 902)
    stills = load_model(options.checkpoint)
    torch.manual_seed(0)  # what is drawn while a model is loaded depends on what was in memory
    model = with_convolutions(stills, options.channels).train()
    backbone, channels = backbone_of(model), model.config.backbone.channels[:MAPS]
    motion, look = Reading(channels, len(NAMES)), Reading(channels, 1 + len(LOOKS))
    heads = [*motion.parameters(), *look.parameters()]
    optimizer = torch.optim.AdamW(
        [{"params": backbone.parameters(), "lr": RATE}, {"params": heads, "lr": 2 * RATE}], weight_decay=1e-4
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1, (step + 1) / WARMUP))
    for step in range(1, options.steps + 1):
        frames, motions, looks = batch(scenes, rng)
        maps, there = backbone(frames), motions > 0
        loss = sum(F.cross_entropy(x.movedim(1, -1)[there], motions[there]) for x in motion(maps))
        loss = loss + 0.5 * sum(F.cross_entropy(x, looks) for x in look(maps))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % REPORT == 0:
            right = ", ".join(f"{share:.2f}" for share in share_right(backbone, motion, unseen))
            print(f"step {step}  loss {loss.item():.3f}  motion named rightly at strides 4, 8, 16: {right}", flush=True)
    save_checkpoint(options.out, model.config, model.state_dict(), options.checkpoint)


if __name__ == "__main__":
    main()
