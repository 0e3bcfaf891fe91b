"""Cross-modal feature pyramid: from encoded maps to mask features at the finest stride (ReferFormer, section 3.4).

Shapes: B clips, T frames, N = B T, C channels, L words; tokens of a clip are [B, T h w, C], all frames together.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import ReferFormerConfig
from model.referformer.network.mlp import init_xavier, token_wise
from model.referformer.network.text_encoder import TextFeatures
from model.referformer.network.word_attention import word_attention

REDUCTIONS = (8, 4, 2, 1)  # of the self-attention's maps, finest level first


@dataclass(frozen=True)
class PixelTokens:
    """One level of a clip after self-attention, before it reads the text."""

    tokens: Tensor  # [B, T h w, C]
    position: Tensor  # [B, T h w, C]
    shape: tuple[int, int, int]  # T, h, w


class ConvNorm(nn.Conv2d):
    """Convolution without bias, group norm, and optionally ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, groups: int, *, relu: bool) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)
        self.relu = relu
        nn.init.kaiming_uniform_(self.weight, a=1)

    def forward(self, input: Tensor) -> Tensor:
        x = self.norm(super().forward(input))
        return F.relu(x, inplace=True) if self.relu else x


class CrossModalBlock(nn.Module):
    """Self-attention among the pixels of all frames, attention to the words, feed-forward; post-norm."""

    def __init__(self, config: ReferFormerConfig, reduction: int) -> None:
        super().__init__()
        dim, heads, dropout = config.hidden_dim, config.heads, config.dropout
        self.reduction = reduction
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(dim, config.feedforward_dim)
        self.linear2 = nn.Linear(config.feedforward_dim, dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def mix_pixels(self, x: Tensor, position: Tensor, padding: Tensor | None, clips: int) -> PixelTokens:
        """Compute the half without text: x, position [N, C, h, w], padding [N, h, w] -> tokens of `clips` clips.

        Attention runs on maps reduced by nearest sampling: it is quadratic in T h w.
        """
        frames, h, w = x.shape[0] // clips, *x.shape[-2:]
        small = (h // self.reduction, w // self.reduction)
        values = F.interpolate(x, small)
        placed = values + F.interpolate(position, small)
        small_padding = None
        if padding is not None:
            small_padding = F.interpolate(padding[None].float(), small)[0].bool().reshape(clips, -1)
        placed, values = clip_tokens(placed, clips), clip_tokens(values, clips)
        attended, _ = self.self_attn(placed, placed, values, key_padding_mask=small_padding, need_weights=False)
        if self.reduction > 1:
            attended = F.interpolate(frame_maps(attended, (frames, *small)), (h, w), mode="bilinear")
            attended = clip_tokens(attended, clips)
        mixed = self.norm1(clip_tokens(x, clips) + self.dropout(attended))
        return PixelTokens(tokens=mixed, position=clip_tokens(position, clips), shape=(frames, h, w))

    def forward(self, pixels: PixelTokens, text: TextFeatures) -> Tensor:
        """Compute the half with text -> [B, T h w, C]; pixels are independent of each other."""
        attend = word_attention(self.multihead_attn, text)

        def read(x: Tensor, position: Tensor) -> Tensor:
            x = self.norm2(x + self.dropout(attend(x + position)))
            inner = self.linear2(self.dropout(F.relu(self.linear1(x), inplace=True)))
            return self.norm3(x + self.dropout(inner))

        return token_wise(read, pixels.tokens, pixels.position, width=self.linear1.out_features)


class CrossModalPixelDecoder(nn.Module):
    """Levels 1 (finest, from the backbone) to 4 (coarsest, from the encoder), summed top-down."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        dim, groups = config.hidden_dim, config.pixel_groups
        for level, reduction in enumerate(REDUCTIONS, start=1):
            channels = config.backbone.channels[0] if level == 1 else dim
            self.add_module(f"adapter_{level}", ConvNorm(channels, dim, 1, groups, relu=False))
            self.add_module(f"layer_{level}", ConvNorm(dim, dim, 3, groups, relu=True))
            self.add_module(f"cross_attn_{level}", CrossModalBlock(config, reduction))
        self.mask_features = nn.Conv2d(dim, config.mask_dim, 3, padding=1)
        init_xavier(self.mask_features)

    def mix_level(self, level: int, x: Tensor, position: Tensor, padding: Tensor | None, clips: int) -> PixelTokens:
        """Compute one level without text; x [N, channels, h, w]. Level 1 depends on the video alone."""
        x = self.get_submodule(f"adapter_{level}")(x)
        return self._block(level).mix_pixels(x, position, padding, clips)

    def forward(
        self,
        finest: PixelTokens,
        memory: list[Tensor],
        positions: list[Tensor],
        padding: list[Tensor] | None,
        text: TextFeatures,
    ) -> Tensor:
        """finest: level 1 from mix_level; memory, positions, padding of levels 2 to 4 -> [N, C, h, w], the input of
        `mask_features`."""
        clips, x = len(finest.tokens), None
        for level in (4, 3, 2, 1):
            pixels = finest
            if level > 1:
                level_padding = None if padding is None else padding[level - 2]
                pixels = self.mix_level(level, memory[level - 2], positions[level - 2], level_padding, clips)
            current = frame_maps(self._block(level)(pixels, text), pixels.shape)
            if x is not None:
                current = current + F.interpolate(x, current.shape[-2:])
            x = self.get_submodule(f"layer_{level}")(current)
        assert x is not None
        return x

    def _block(self, level: int) -> CrossModalBlock:
        block = self.get_submodule(f"cross_attn_{level}")
        assert isinstance(block, CrossModalBlock)
        return block


def clip_tokens(maps: Tensor, clips: int) -> Tensor:
    """[N, C, h, w] -> [B, T h w, C]."""
    return maps.unflatten(0, (clips, -1)).permute(0, 1, 3, 4, 2).flatten(1, 3)


def frame_maps(tokens: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """[B, T h w, C] -> [N, C, h, w]."""
    return tokens.unflatten(1, shape).flatten(0, 1).permute(0, 3, 1, 2)


def smallest_side(stride: int) -> int:
    """Return the shortest image side whose finest map keeps at least one pixel when it is reduced."""
    return stride * (max(REDUCTIONS) - 1) + 1
