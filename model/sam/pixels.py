"""Frames and masks in the form that SAM models take: squares, whose sides the published processors do not keep.

Equal bit for bit to the processors of transformers, which need torchvision: `Sam2VideoVideoProcessor` and
`Sam3ImageProcessor` with `processing_device="cpu"`. Resizing on a GPU, or by Pillow, gives other pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from model.boxes import box_of


@dataclass(frozen=True)
class Pixels:
    """Size and normalisation of a model's input."""

    side: int
    mean: tuple[float, ...]  # of a channel, for values 0..1
    std: tuple[float, ...]

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        """Resize a frame, uint8 [H, W, 3], to uint8 [side, side, 3]."""
        pixels = torch.tensor(frame).permute(2, 0, 1)[None]  # a copy: a decoder's frames may be read-only
        small = F.interpolate(pixels, (self.side, self.side), mode="bilinear", antialias=True)
        return small[0].permute(1, 2, 0).contiguous().numpy()

    def normalise(self, prepared: np.ndarray, device: torch.device) -> Tensor:
        """Return a prepared frame as float32 [3, side, side]."""
        # Multiplied in float32, as published: in Python's floats 255 * 0.485 has other bits.
        mean, std = (torch.tensor(values, device=device) * 255.0 for values in (self.mean, self.std))
        pixels = torch.from_numpy(prepared).to(device).permute(2, 0, 1).float()
        return (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)

    def mask_prompt(self, mask: np.ndarray, device: torch.device) -> tuple[Tensor, bool]:
        """Return a displayed mask, bool [H, W], as float32 [1, 1, side, side] of zeros and ones.

        And True if no pixel would be left: then it is every pixel that the mask touches.
        """
        full = torch.tensor(mask, device=device).float()[None, None]
        if full.shape[-2:] == (self.side, self.side):
            return full, False
        small = F.interpolate(full, (self.side, self.side), mode="bilinear", antialias=True)
        inside = small >= 0.5
        vanishes = not inside.any()
        return (small > 0 if vanishes else inside).float(), vanishes

    def box_prompt(self, mask: np.ndarray, device: torch.device) -> dict[str, Tensor]:
        """Return the box of a displayed mask, bool [H, W], as the two labelled points that SAM takes."""
        height, width = mask.shape
        x, y, w, h = box_of(mask)
        scale = torch.tensor([self.side / width, self.side / height], device=device)
        corners = torch.tensor([[[[x, y], [x + w, y + h]]]], device=device, dtype=torch.float32) * scale
        return {"point_coords": corners, "point_labels": torch.tensor([[[2, 3]]], device=device, dtype=torch.int32)}
