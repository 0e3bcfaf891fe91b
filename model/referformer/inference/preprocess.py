"""Turn a decoded frame into the model's input: resize as published, then ImageNet normalisation."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def resized_size(height: int, width: int, short_side: int, max_size: int | None = None) -> tuple[int, int]:
    """Return height and width with the shorter one at `short_side`, and the longer one at most `max_size`.

    As published: the longer side is truncated, not rounded (480 x 853 becomes 360 x 639). If `max_size` binds, the
    short side is rounded first, so the long one may be below the limit.
    """
    short, long = min(height, width), max(height, width)
    if max_size is not None and long / short * short_side > max_size:
        short_side = round(max_size * short / long)
    if short == short_side:
        return height, width
    if width < height:
        return int(short_side * height / width), short_side
    return short_side, int(short_side * width / height)


def resize(frame: np.ndarray, short_side: int, max_size: int | None = None) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w, 3]; Pillow's bilinear filter, which averages when it shrinks."""
    displayed = (frame.shape[0], frame.shape[1])
    height, width = resized_size(*displayed, short_side, max_size)
    if (height, width) == displayed:
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))


def normalize(frames: Tensor) -> Tensor:
    """uint8 [T, h, w, 3] -> float32 [T, 3, h, w] with ImageNet mean 0 and deviation 1, on the same device."""
    mean, std = (torch.tensor(values, device=frames.device).view(3, 1, 1) for values in (MEAN, STD))
    return (frames.permute(0, 3, 1, 2).float() / 255 - mean) / std
