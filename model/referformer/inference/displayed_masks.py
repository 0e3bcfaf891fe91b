"""From mask logits to masks at the displayed size, a few frames at a time to save memory.

Shapes: K frames, O objects, h x w of the mask logits, H x W of the displayed frame.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from model.referformer.inference.postprocess import a2d_masks, merge_objects, resize_logits

UPSAMPLED_PIXELS = 2**24  # of float32 logits at the displayed size held at once (64 MiB), at least one frame


def binary_masks(logits: Tensor, size: tuple[int, int], threshold: float) -> np.ndarray:
    """Upsample logits [K, h, w], and set the pixels with a probability above `threshold` -> bool [K, H, W]."""
    limit = math.log(threshold / (1 - threshold))  # sigmoid(x) > threshold is x > limit
    (masks,) = _in_parts([logits], size, lambda part: resize_logits(part[0], size)[None] > limit)
    return masks


def nearest_masks(logits: Tensor, input_size: tuple[int, int], size: tuple[int, int], threshold: float) -> np.ndarray:
    """Set pixels at the size of the model input, as `a2d_masks` for K frames of one object -> bool [K, H, W]."""
    (masks,) = _in_parts([logits], size, lambda part: a2d_masks(part[0], input_size, size, threshold)[None])
    return masks


def exclusive_masks(logits: Sequence[Tensor], size: tuple[int, int], threshold: float) -> list[np.ndarray]:
    """Give each pixel to one object at most, as `merge_objects`: O logits [K, h, w] -> O masks bool [K, H, W]."""
    labels = torch.arange(1, len(logits) + 1, device=logits[0].device)[:, None, None, None]

    def merge(part: Tensor) -> Tensor:
        return merge_objects(torch.stack([resize_logits(one, size) for one in part]), threshold) == labels

    return _in_parts(logits, size, merge)


def _in_parts(
    logits: Sequence[Tensor], size: tuple[int, int], to_masks: Callable[[Tensor], Tensor]
) -> list[np.ndarray]:
    """Apply `to_masks`, [O, k, h, w] -> bool [O, k, H, W], to a few frames at a time.

    Each frame of the result is stored column by column, as run lengths are counted.
    """
    height, width = size
    columns = [np.empty((len(one), width, height), dtype=bool) for one in logits]
    step = max(1, UPSAMPLED_PIXELS // (height * width * len(logits)))
    for start in range(0, len(logits[0]), step):
        frames = slice(start, start + step)
        masks = to_masks(torch.stack([one[frames].float() for one in logits]))
        for to, mask in zip(columns, masks.transpose(2, 3), strict=True):
            to[frames] = mask.contiguous().cpu().numpy()
    return [masks.transpose(0, 2, 1) for masks in columns]
