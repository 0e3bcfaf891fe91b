"""Attention inside shifted windows, shared by Swin and Video-Swin (Liu et al. 2021, 2022).

Maps are [B, D, H, W, C] (D frames; 1 for single frames), windows (d, h, w), N = d h w tokens in a window.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.checks import require_divisible, require_positive

Size = tuple[int, int, int]
MASK_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True, kw_only=True)
class SwinSizes:
    """Sizes common to both configs; stage i has embed_dim * 2**i channels at stride patch * 2**i."""

    embed_dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int | Size = 7
    patch: int = 4
    drop_path: float = 0.2

    def __post_init__(self) -> None:
        require_positive(self)
        for channels, heads in zip(self.channels, self.heads, strict=True):
            require_divisible(self, "channels", channels, "heads", heads)

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(self.embed_dim * 2**stage for stage in range(4))

    @property
    def stride(self) -> int:
        return self.patch


class WindowAttention(nn.Module):
    """Self-attention of the tokens of each window, with a learned bias per relative position."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window: Size, heads: int) -> None:
        super().__init__()
        self.heads = heads
        positions = math.prod(2 * side - 1 for side in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(positions, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, regions: Tensor | None) -> Tensor:
        """x [windows, N, C]; regions [windows, N]: tokens of different regions do not attend to each other."""
        count = x.shape[1]
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # A map smaller than the window uses the leading corner of the index table. The offsets are right only if
        # the window is smaller in time alone, but the published weights were trained this way.
        index = self.relative_position_index[:count, :count]
        bias = self.relative_position_bias_table[index].permute(2, 0, 1)[None]
        if regions is None:
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        else:  # masks differ between windows: build them for a few windows at a time
            step = max(1, MASK_NUMBERS_AT_ONCE // bias.numel())
            parts = []
            for q, k, v, r in zip(*(x.split(step) for x in (query, key, value, regions)), strict=True):
                closed = (r[:, None, :, None] != r[:, None, None, :]).float() * -100.0  # as published, not -inf
                parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=bias + closed))
            out = torch.cat(parts)
        return self.proj(out.transpose(1, 2).flatten(2))


class GeluFeedForward(nn.Module):
    """Two linear layers with GELU; the hidden layer is four times as wide."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """Windowed attention, then feed-forward; both pre-norm with a shortcut."""

    def __init__(self, dim: int, window: Size, heads: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = GeluFeedForward(dim)
        self.drop_path = drop_path

    def forward(self, x: Tensor, window: Size, shift: Size) -> Tensor:
        x = x + self._drop(self._attend(self.norm1(x), window, shift))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, window: Size, shift: Size) -> Tensor:
        depth, height, width = x.shape[1:4]
        pad_d, pad_h, pad_w = -depth % window[0], -height % window[1], -width % window[2]
        x = F.pad(x, (0, 0, 0, pad_w, 0, pad_h, 0, pad_d))
        padded = (depth + pad_d, height + pad_h, width + pad_w)
        regions = None
        if any(shift):
            x = x.roll([-step for step in shift], dims=(1, 2, 3))
            regions = window_regions(padded, window, shift, x.device).repeat(x.shape[0], 1)
        x = merge(self.attn(partition(x, window), regions), window, padded)
        if any(shift):
            x = x.roll(shift, dims=(1, 2, 3))
        return x[:, :depth, :height, :width]

    def _drop(self, x: Tensor) -> Tensor:
        """Stochastic depth: in training, drop this branch for some clips (Huang et al. 2016)."""
        if not self.training or self.drop_path == 0:
            return x
        keep = x.new_empty(x.shape[0], 1, 1, 1, 1).bernoulli_(1 - self.drop_path)
        return x * keep / (1 - self.drop_path)


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the channels: [B, D, H, W, C] -> [B, D, H/2, W/2, 2C]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:4]
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, dim=-1)))


class SwinStage(nn.Module):
    """`depth` blocks at one resolution, every second one with shifted windows."""

    def __init__(
        self, dim: int, window: Size, heads: int, drop_path: list[float], downsample: PatchMerging | None = None
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(SwinBlock(dim, window, heads, rate) for rate in drop_path)
        self.downsample = downsample  # stored here by Swin only, which calls it itself

    def forward(self, x: Tensor, shrink: bool) -> Tensor:
        """x [B, D, H, W, C]; shrink: cut a window that is larger than the map to the map, without shift."""
        shift = tuple(side // 2 for side in self.window)
        window = self.window
        if shrink:
            shift = tuple(step if n > side else 0 for n, side, step in zip(x.shape[1:4], window, shift, strict=True))
            window = tuple(min(n, side) for n, side in zip(x.shape[1:4], window, strict=True))
        for number, block in enumerate(self.blocks):
            x = block(x, window, shift if number % 2 else (0, 0, 0))
        return x


def partition(x: Tensor, window: Size) -> Tensor:
    """[B, D, H, W, C] -> [B windows, N, C]; the sides are multiples of the window."""
    (d, h, w), c = window, x.shape[-1]
    b, depth, height, width = x.shape[:4]
    x = x.view(b, depth // d, d, height // h, h, width // w, w, c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, d * h * w, c)


def merge(x: Tensor, window: Size, size: Size) -> Tensor:
    """Inverse of partition: [B windows, N, C] -> [B, *size, C]."""
    (d, h, w), (depth, height, width) = window, size
    x = x.view(-1, depth // d, height // h, width // w, d, h, w, x.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(-1, depth, height, width, x.shape[-1])


def relative_position_index(window: Size) -> Tensor:
    """[N, N] int64: row of the bias table for each pair of tokens of a window."""
    axes = torch.meshgrid(*(torch.arange(side) for side in window), indexing="ij")
    index = torch.zeros((), dtype=torch.int64)
    for axis, side in zip(axes, window, strict=True):
        position = axis.flatten()
        index = index * (2 * side - 1) + position[:, None] - position[None, :] + side - 1
    return index


def window_regions(size: Size, window: Size, shift: Size, device: torch.device) -> Tensor:
    """[windows, N] int64: after rolling, windows at the far end hold tokens of both ends, which must not mix."""
    regions = torch.zeros((1, 1, 1), dtype=torch.int64, device=device)
    for axis, (extent, side, step) in enumerate(zip(size, window, shift, strict=True)):
        position = torch.arange(extent, device=device)
        region = (position >= extent - side).long() + (position >= extent - step).long() if step else position * 0
        shape = [1, 1, 1]
        shape[axis] = extent
        regions = regions * 3 + region.view(shape)
    return partition(regions[None, ..., None], window).squeeze(-1)


def drop_path_rates(highest: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Return the rate of each block by stage, growing linearly from 0 to `highest` over all blocks."""
    rates = torch.linspace(0, highest, sum(depths), device="cpu").tolist()
    bounds = [sum(depths[:stage]) for stage in range(len(depths) + 1)]
    return [rates[start:end] for start, end in pairwise(bounds)]


def init_linear(module: nn.Module) -> None:
    """Initialise the weights of a Swin: normal with deviation 0.02, biases 0. For nn.Module.apply."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def pad_to_patches(x: Tensor, patch: int) -> Tensor:
    """Pad x [..., H, W] with zeros at the right and below, to multiples of `patch`."""
    h, w = x.shape[-2:]
    return F.pad(x, (0, -w % patch, 0, -h % patch))
