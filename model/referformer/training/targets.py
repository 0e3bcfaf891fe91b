"""Training targets of a clip, and operations on boxes.

Shapes: B clips, T frames, H x W pixels of the padded model input, h x w of the masks at the finest stride.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

EPSILON = 1e-6  # in all four places of the generalised IoU, as published


@dataclass(frozen=True)
class Targets:
    """The referred object in each frame. Where it is absent, its mask is empty and its box 0, 0, 0, 0.

    Padding is background. A clip has no object if it is absent in all frames. A frame may be present with an empty
    mask, or absent with a mask: mask and box terms use the mask and box as given, presence decides the class only.
    """

    masks: Tensor  # [B, T, H, W] bool
    boxes: Tensor  # [B, T, 4] float, cx, cy, w, h in 0..1 of the frame without padding
    present: Tensor  # [B, T] bool
    labels: Tensor  # [B, T] int64, ignored by a model with one class

    def to(self, device: torch.device) -> Self:
        """Copy to another device."""
        return type(self)(*(x.to(device) for x in (self.masks, self.boxes, self.present, self.labels)))

    @property
    def count(self) -> int:
        """Count the frames that show the object, in all clips together."""
        return int(self.present.sum())

    @property
    def meant(self) -> Tensor:
        """Return [B] bool, True for clips with an object."""
        return self.present.any(1)

    def masks_at(self, height: int, width: int) -> Tensor:
        """[B, T, h, w] float: the middle pixel of each cell (2, 6, 10 ... at stride 4), not the mean of the cell."""
        rows, columns = self.masks.shape[-2] // height, self.masks.shape[-1] // width
        picked = self.masks[..., rows // 2 :: rows, columns // 2 :: columns]
        if picked.shape[-2:] != (height, width):
            raise ValueError(f"masks {list(self.masks.shape)} do not fit predictions of {height} x {width}")
        return picked.float()


def corners(boxes: Tensor) -> Tensor:
    """[..., 4] cx, cy, w, h -> x1, y1, x2, y2."""
    centre, size = boxes.split(2, dim=-1)
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def generalised_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compare boxes cx, cy, w, h [..., 4] one by one -> [...], in -1..1 (Rezatofighi et al. 2019)."""
    one, other = corners(boxes), corners(others)
    inter = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - inter
    hull = _area(torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:]))
    return (inter + EPSILON) / (union + EPSILON) - (hull - union + EPSILON) / (hull + EPSILON)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(-1)
