"""Pseudo-clips: an image and distorted copies of it, in random order (ReferFormer, joint training)."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from pipeline.training.augment import TrainingClip, settle
from pipeline.training.colour import ColourChange

BRIGHTNESS, HUE, SATURATION = 40.0, 5.0, 0.05
PERSPECTIVE, SHIFT, ROTATION = 0.08, 0.1, 20.0  # share of the side, share of the side, degrees
BLUR, BLUR_KERNELS = 0.25, (9, 11)


def pseudo_clip(image: TrainingClip, length: int, rng: np.random.Generator) -> TrainingClip:
    """Make a clip of `length` frames from a clip of one. An object moved out of a frame is absent there."""
    copies = [(image.frames[0], image.masks[0])]
    copies += [_distort(*copies[0], rng) for _ in range(length - 1)]
    frames, masks = zip(*(copies[i] for i in rng.permutation(length)), strict=True)
    return settle(
        replace(
            image,
            frames=np.stack(frames),
            masks=np.stack(masks),
            boxes=np.zeros((length, 4)),
            present=np.zeros(length, bool),
        )
    )


def _distort(frame: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    which = rng.integers(3)  # brightness, hue with saturation, or both
    change = ColourChange(
        brightness=rng.uniform(-BRIGHTNESS, BRIGHTNESS) if which != 1 else None,
        hue=rng.uniform(-HUE, HUE) if which else None,
        saturation=1 + rng.uniform(-SATURATION, SATURATION) if which else None,
    )
    height, width = mask.shape
    coefficients = _homography(height, width, rng).tolist()
    moved, seen = (
        Image.fromarray(x).transform((width, height), Image.Transform.PERSPECTIVE, coefficients, resample)
        for x, resample in (
            (change.apply(frame), Image.Resampling.BILINEAR),
            (mask.astype(np.uint8), Image.Resampling.NEAREST),
        )
    )
    turned = np.asarray(moved)
    if rng.random() < BLUR:
        turned = _blur(turned, int(rng.choice(BLUR_KERNELS)), rng.uniform(0, np.pi))
    return turned, np.asarray(seen).astype(bool)


def _homography(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a rotation, a shift and moves of the corners; return Pillow's eight coefficients from copy to image."""
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], dtype=float)
    angle = np.deg2rad(rng.uniform(-ROTATION, ROTATION))
    turn = np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    centre, side = np.array((width, height)) / 2, np.array((width, height))
    source = (corners - centre) @ turn + centre + rng.uniform(-SHIFT, SHIFT) * side
    source += rng.uniform(-PERSPECTIVE, PERSPECTIVE, (4, 2)) * side
    rows = []
    for (x, y), (u, v) in zip(corners, source, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
    return np.linalg.solve(np.array(rows), source.reshape(-1))


def _blur(frame: np.ndarray, kernel: int, angle: float) -> np.ndarray:
    """Average along a line of `kernel` pixels in direction `angle`."""
    line, half = torch.zeros(kernel, kernel), kernel // 2
    for step in range(-half, half + 1):
        line[round(half + step * np.sin(angle)), round(half + step * np.cos(angle))] = 1
    pixels = torch.from_numpy(frame.copy()).permute(2, 0, 1)[:, None].float()
    padded = F.pad(pixels, (half,) * 4, mode="replicate")
    blurred = F.conv2d(padded, (line / line.sum())[None, None])[:, 0]
    return blurred.round().byte().permute(1, 2, 0).numpy()
