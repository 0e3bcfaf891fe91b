"""Sine positions of pixels and words (Carion et al., DETR, appendix A.4; Vaswani et al. for the wave lengths).

Padding does not advance the count of positions, and the last real element is always at 2 pi.
"""

import math

import torch
from torch import Tensor

WAVELENGTH = 10000.0
EPSILON = 1e-6


def pixel_position(padding: Tensor, dim: int) -> Tensor:
    """Encode the position of every pixel: dim / 2 values for y, then dim / 2 for x.

    padding [N, h, w] bool, True on padding; result [N, dim, h, w] float32. `dim` is a multiple of 4.
    """
    real = (~padding).float()
    halves = []
    for axis in (1, 2):
        count = real.cumsum(axis)
        last = count.narrow(axis, -1, 1)
        halves.append(_waves((count - 0.5) / (last + EPSILON), dim // 2))  # half a pixel: the centre of each
    return torch.cat(halves, dim=-1).permute(0, 3, 1, 2)


def word_position(padding: Tensor, dim: int) -> Tensor:
    """Encode the position of every word; padding [N, L] bool, True on padding -> [N, L, dim] float32, `dim` even."""
    count = (~padding).float().cumsum(1)
    return _waves(count / (count[:, -1:] + EPSILON), dim)


def _waves(fraction: Tensor, dim: int) -> Tensor:
    """[...] in 0..1 -> [..., dim]: sine and cosine interleaved, wave lengths growing geometrically."""
    index = torch.arange(dim, device=fraction.device)
    wavelength = WAVELENGTH ** (2 * (index // 2) / dim)
    angle = (fraction * 2 * math.pi)[..., None] / wavelength
    return torch.stack((angle[..., 0::2].sin(), angle[..., 1::2].cos()), dim=-1).flatten(-2)
