"""Deformable transformer (Zhu et al., Deformable DETR), frame by frame, in plain torch.

Shapes: N = B T frames, S tokens of all levels together, Q queries, C channels, M heads, L levels, P points.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import ReferFormerConfig
from model.referformer.network.deformable_attention import DeformableAttention, Levels, Shapes
from model.referformer.network.mlp import MLP, init_xavier, token_wise


class EncoderLayer(nn.Module):
    """Every token reads around its own position on all levels, then feed-forward; post-norm."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.self_attn = DeformableAttention(dim, config.heads, config.levels, config.encoder_points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward_dim)
        self.linear2 = nn.Linear(config.feedforward_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        init_xavier(self.linear1, self.linear2)

    def forward(self, levels: Levels, reference: Tensor) -> Tensor:
        x = levels.tokens
        attended = self.self_attn(x + levels.position, reference, levels)

        def feed_forward(x: Tensor, attended: Tensor) -> Tensor:
            x = self.norm1(x + self.dropout(attended))
            inner = self.linear2(self.dropout(F.relu(self.linear1(x), inplace=True)))
            return self.norm2(x + self.dropout(inner))

        return token_wise(feed_forward, x, attended, width=self.linear1.out_features)


class DecoderLayer(nn.Module):
    """Queries of a frame attend to each other, then to the frame, then feed-forward; norms in the order 2, 1, 3."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.cross_attn = DeformableAttention(dim, config.heads, config.levels, config.decoder_points)
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, config.heads, dropout=config.dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, config.feedforward_dim)
        self.linear2 = nn.Linear(config.feedforward_dim, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(config.dropout)
        init_xavier(self.linear1, self.linear2)

    def forward(self, x: Tensor, position: Tensor, reference: Tensor, levels: Levels) -> Tensor:
        """x [N, Q, C], position [Q, C], reference [N, Q, L, 2 or 4] -> [N, Q, C]."""
        placed = x + position
        attended, _ = self.self_attn(placed, placed, x, need_weights=False)
        x = self.norm2(x + self.dropout(attended))
        x = self.norm1(x + self.dropout(self.cross_attn(x + position, reference, levels)))
        inner = self.linear2(self.dropout(F.relu(self.linear1(x), inplace=True)))
        return self.norm3(x + self.dropout(inner))


class Encoder(nn.Module):
    """Layers over the tokens of all levels."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))

    def forward(self, levels: Levels) -> Levels:
        reference = encoder_reference(levels.shapes, levels.valid)
        for layer in self.layers:
            levels = Levels(
                tokens=layer(levels, reference),
                position=levels.position,
                padding=levels.padding,
                shapes=levels.shapes,
                valid=levels.valid,
            )
        return levels


class Decoder(nn.Module):
    """Layers over the queries, each with a head that refines the box of the previous layer."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.bbox_embed = nn.ModuleList(MLP(dim, dim, 4, 3) for _ in range(config.decoder_layers))
        for number, head in enumerate(self.bbox_embed):  # new heads leave boxes as they are; the first boxes are small
            *_, weight, bias = head.parameters()
            nn.init.zeros_(weight)
            with torch.no_grad():
                bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0] if number == 0 else [0.0] * 4))

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, levels: Levels
    ) -> tuple[list[Tensor], list[Tensor]]:
        """x [N, Q, C], reference [N, Q, 2] in 0..1 -> per layer queries [N, Q, C] and boxes [N, Q, 4] cx, cy, w, h."""
        hidden, boxes = [], []
        for layer, head in zip(self.layers, self.bbox_embed, strict=True):
            scale = levels.valid.repeat(1, 1, reference.shape[-1] // 2)
            x = layer(x, position, reference[:, :, None] * scale[:, None], levels)
            delta = head(x)
            known = reference.shape[-1]  # the first layer starts from points, without width and height
            moved = delta[..., :known] + inverse_sigmoid(reference)
            box = torch.cat((moved, delta[..., known:]), dim=-1).sigmoid()
            hidden.append(x)
            boxes.append(box)
            reference = box.detach()  # later layers do not train the earlier heads
        return hidden, boxes


@dataclass(frozen=True)
class TransformerOutput:
    """Encoded maps and decoded queries of N frames."""

    memory: list[Tensor]  # three encoded maps [N, C, h, w], strides 8, 16, 32
    hidden: list[Tensor]  # per decoder layer [N, Q, C]
    boxes: list[Tensor]  # per decoder layer [N, Q, 4], cx, cy, w, h in 0..1
    start: Tensor  # [N, Q, 2], reference points of the first layer


class DeformableTransformer(nn.Module):
    """Encoder over the fused maps, decoder over queries conditioned on the sentence."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(config.levels, config.hidden_dim))
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.reference_points = nn.Linear(config.hidden_dim, 2)
        nn.init.normal_(self.level_embed)
        init_xavier(self.reference_points)

    def forward(
        self,
        maps: list[Tensor],
        positions: list[Tensor],
        padding: list[Tensor] | None,
        sentence: Tensor,
        query_position: Tensor,
    ) -> TransformerOutput:
        """maps, positions [N, C, h, w] and padding [N, h, w] per level; sentence [N, C]; query_position [Q, C]."""
        embedded = [p.flatten(2).transpose(1, 2) + e for p, e in zip(positions, self.level_embed, strict=True)]
        if padding is None:
            flat_padding, valid = None, torch.ones(len(sentence), len(maps), 2, device=sentence.device)
        else:
            flat_padding = torch.cat([p.flatten(1) for p in padding], dim=1)
            valid = torch.stack([valid_ratio(p) for p in padding], dim=1)
        levels = Levels(
            tokens=torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1),
            position=torch.cat(embedded, dim=1),
            padding=flat_padding,
            shapes=[(x.shape[-2], x.shape[-1]) for x in maps],
            valid=valid,
        )
        encoded = self.encoder(levels)
        queries = sentence[:, None].expand(-1, len(query_position), -1)  # every query starts as the sentence
        start = self.reference_points(query_position).sigmoid().expand(len(sentence), -1, -1)
        hidden, boxes = self.decoder(queries, query_position, start, encoded)
        flat = encoded.tokens.split([h * w for h, w in encoded.shapes], dim=1)[:3]
        memory = [x.transpose(1, 2).unflatten(-1, hw) for x, hw in zip(flat, encoded.shapes, strict=False)]
        return TransformerOutput(memory=memory, hidden=hidden, boxes=boxes, start=start)

    def in_steps(
        self, step: int, *per_frame: list[Tensor] | Tensor | None, query_position: Tensor
    ) -> TransformerOutput:
        """Compute `forward` on `step` frames at a time, which do not see each other here.

        per_frame: the arguments of `forward` from `maps` to `sentence`.
        """

        def select(x: list[Tensor] | Tensor | None, some: slice) -> Any:
            return [level[some] for level in x] if isinstance(x, list) else x if x is None else x[some]

        *_, sentence = per_frame
        starts = range(0, len(sentence), step)  # pyright: ignore[reportArgumentType]
        parts = [self(*(select(x, slice(at, at + step)) for x in per_frame), query_position) for at in starts]
        if len(parts) == 1:
            return parts[0]

        def joined(name: str) -> list[Tensor]:
            return [torch.cat(tensors) for tensors in zip(*(getattr(part, name) for part in parts), strict=True)]

        start = torch.cat([part.start for part in parts])
        return TransformerOutput(joined("memory"), joined("hidden"), joined("boxes"), start)


def valid_ratio(padding: Tensor) -> Tensor:
    """Measure the share of width and height that is not padding, by first row and column: [N, h, w] -> [N, 2]."""
    real = (~padding).float()
    return torch.stack((real[:, 0].mean(-1), real[:, :, 0].mean(-1)), dim=-1)


def encoder_reference(shapes: Shapes, valid: Tensor) -> Tensor:
    """Return the centre of every token, scaled from the unpadded part of its level to that of each: [N, S, L, 2]."""
    points = []
    for level, (h, w) in enumerate(shapes):
        y, x = torch.meshgrid(
            torch.arange(h, device=valid.device) + 0.5, torch.arange(w, device=valid.device) + 0.5, indexing="ij"
        )
        size = valid[:, level, None] * torch.tensor((w, h), device=valid.device)
        points.append(torch.stack((x, y), dim=-1).flatten(0, 1) / size)
    return torch.cat(points, dim=1)[:, :, None] * valid[:, None]


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Return the logit of x in 0..1, with x and 1 - x at least 1e-5."""
    x = x.clamp(0, 1)
    return (x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5)).log()
