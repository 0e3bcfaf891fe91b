"""Deformable transformer (Zhu et al., Deformable DETR), frame by frame, in plain torch.

Shapes: N = B T frames, S tokens of all levels together, Q queries, C channels, M heads, L levels, P points.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import ReferFormerConfig
from model.referformer.network.mlp import MLP, init_xavier, token_wise

Shapes = list[tuple[int, int]]  # (h, w) of each level
DENSE_ROWS = 2**9  # of one frame


@dataclass(frozen=True)
class Levels:
    """Feature maps of N frames, flattened level after level."""

    tokens: Tensor  # [N, S, C]
    position: Tensor  # [N, S, C], with the level embedding
    padding: Tensor | None  # [N, S] bool, True on padding; None where there is none
    shapes: Shapes
    valid: Tensor  # [N, L, 2] share of width and height that is not padding


class DeformableAttention(nn.Module):
    """Each query reads P points per level and head, around its reference."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Heads look in evenly spread directions, point p at distance p, all with equal weight."""
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        steps = direction[:, None, None] * torch.arange(1, self.points + 1)[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(steps.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        init_xavier(self.value_proj, self.output_proj)

    def forward(self, query: Tensor, reference: Tensor, levels: Levels) -> Tensor:
        """query [N, Q, C] with position, reference [N, Q, L, 2 or 4] in 0..1 -> [N, Q, C]."""
        value = self.value_proj(levels.tokens)
        if levels.padding is not None:
            value = value.masked_fill(levels.padding[..., None], 0.0)
        table = bordered(value.unflatten(-1, (self.heads, -1)), levels.shapes)

        def read(query: Tensor, reference: Tensor) -> Tensor:
            return self.output_proj(sample(table, levels.shapes, *self.sampling(query, reference, levels.shapes)))

        return token_wise(read, query, reference, width=4 * self.heads * self.levels * self.points)

    def sampling(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Where to read, [N, Q, M, L, P, 2] x, y in 0..1, and with what weight, [N, Q, M, L, P]."""
        per_head = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*per_head, 2))
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
        reference = reference[:, :, None, :, None]
        if reference.shape[-1] == 2:  # a point: offsets count pixels of the level
            size = torch.tensor([(w, h) for h, w in shapes], dtype=query.dtype, device=query.device)
            locations = reference + offsets / size[:, None].expand(self.heads, -1, self.points, -1).contiguous()
        else:  # a box: offsets count half boxes, shared among the points
            locations = reference[..., :2] + offsets / self.points * reference[..., 2:] * 0.5
        return locations, weights.unflatten(-1, per_head[1:])


def bordered(value: Tensor, shapes: Shapes) -> Tensor:
    """value [N, S, M, C / M] -> [N, R, M, C / M], the tokens of each level with zeros all around: these stand for
    everything outside."""
    maps = value.split([h * w for h, w in shapes], dim=1)
    padded = [F.pad(x.unflatten(1, hw), (0, 0, 0, 0, 1, 1, 1, 1)) for x, hw in zip(maps, shapes, strict=True)]
    return torch.cat([x.flatten(1, 2) for x in padded], dim=1)


def sample(table: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of bilinear samples, zero outside the maps.

    table as `bordered` makes it, locations [N, Q, M, L, P, 2], weights [N, Q, M, L, P] -> [N, Q, C]. Equals one
    `grid_sample` (no corner alignment) per level, weighted and summed. Here all corners of all points of a query
    and head are one bag of rows of the table, so nothing of size Q x L x P x C is ever written.
    """
    n, _, m, width = table.shape
    points = weights.shape[-1]

    def integers(values: list) -> Tensor:
        """One value or pair of each level -> [M, L, P(, 2)], in full: short inner loops would cost more than this."""
        each = torch.tensor(values, dtype=torch.int32, device=table.device)
        return each[None, :, None].expand(m, -1, points, *each.shape[1:]).contiguous()

    size = integers([(w, h) for h, w in shapes])
    row = size[..., 0] + 2
    areas = [(h + 2) * (w + 2) for h, w in shapes]
    start = integers([sum(areas[:level]) for level in range(len(areas))])
    frame = torch.arange(n, dtype=torch.int32, device=table.device).view(n, 1, 1, 1, 1) * table.shape[1]
    head = torch.arange(m, dtype=torch.int32, device=table.device).view(m, 1, 1)

    xy = torch.minimum((locations * size + 0.5).clamp(min=0), (size + 1).to(locations.dtype))
    corner = torch.minimum(xy.detach().int(), size).clamp(min=0)  # clamped again: not a number stays in the table
    (x, y), (right, down) = corner.unbind(-1), (xy - corner).unbind(-1)
    lower = weights * down
    upper = weights - lower
    shares = torch.stack((upper - upper * right, upper * right, lower - lower * right, lower * right), dim=-1)
    if table.requires_grad and table.shape[1] <= DENSE_ROWS:
        first = y * row + x + start
        rows = torch.stack((first, first + 1, first + row, first + row + 1), dim=-1)
        return _sample_dense(table, rows.flatten(3).long(), shares.flatten(3).to(table.dtype))
    first = (y * row + x + start + frame) * m + head
    rows = torch.stack((first, first + m, first + row * m, first + (row + 1) * m), dim=-1)
    bags = first.shape[:3].numel()
    summed = F.embedding_bag(
        rows.view(bags, -1),
        table.reshape(-1, width),
        mode="sum",
        per_sample_weights=shares.view(bags, -1).to(table.dtype),
    )
    return summed.view(n, -1, m * width)


def _sample_dense(table: Tensor, rows: Tensor, shares: Tensor) -> Tensor:
    """The same as one matrix product: for small tables in training, where the bags' backward pass is far slower.

    table [N, R, M, C / M], rows and shares [N, Q, M, K] -> [N, Q, C].
    """
    rows, shares, table = rows.transpose(1, 2), shares.transpose(1, 2), table.transpose(1, 2)
    mix = shares.new_zeros(*rows.shape[:3], table.shape[2]).scatter_add_(-1, rows, shares)
    return (mix @ table).transpose(1, 2).flatten(2)


class EncoderLayer(nn.Module):
    """Every token reads around its own place on all levels, then feed-forward; post-norm."""

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
        return token_wise(self._feed_forward, x, attended, width=self.linear1.out_features)

    def _feed_forward(self, x: Tensor, attended: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(attended))
        inner = self.linear2(self.dropout(F.relu(self.linear1(x), inplace=True)))
        return self.norm2(x + self.dropout(inner))


class DecoderLayer(nn.Module):
    """Queries of a frame see each other, then the frame, then feed-forward; norm2, norm1, norm3 in that order."""

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
            tokens = layer(levels, reference)
            levels = Levels(tokens, levels.position, levels.padding, levels.shapes, levels.valid)
        return levels


class Decoder(nn.Module):
    """Layers over the queries, each with a head that refines the box of the layer before."""

    def __init__(self, config: ReferFormerConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        self.bbox_embed = nn.ModuleList(MLP(dim, dim, 4, 3) for _ in range(config.decoder_layers))
        for number, head in enumerate(self.bbox_embed):  # fresh heads change nothing, first boxes are small
            *_, weight, bias = head.parameters()
            nn.init.zeros_(weight)
            with torch.no_grad():
                bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0] if number == 0 else [0.0] * 4))

    def forward(
        self, x: Tensor, position: Tensor, reference: Tensor, levels: Levels
    ) -> tuple[list[Tensor], list[Tensor]]:
        """x [N, Q, C], reference [N, Q, 2] in 0..1 -> per layer queries [N, Q, C] and boxes cx, cy, w, h."""
        hidden, boxes = [], []
        for layer, head in zip(self.layers, self.bbox_embed, strict=True):
            scale = levels.valid.repeat(1, 1, reference.shape[-1] // 2)
            x = layer(x, position, reference[:, :, None] * scale[:, None], levels)
            delta = head(x)
            known = reference.shape[-1]  # the first layer starts from points: width and height start from nothing
            moved = delta[..., :known] + inverse_sigmoid(reference)
            box = torch.cat((moved, delta[..., known:]), dim=-1).sigmoid()
            hidden.append(x)
            boxes.append(box)
            reference = box.detach()  # later layers refine, they do not train the heads before
        return hidden, boxes


@dataclass(frozen=True)
class TransformerOutput:
    """Of N frames."""

    memory: list[Tensor]  # three encoded maps [N, C, h, w], strides 8, 16, 32
    hidden: list[Tensor]  # per decoder layer [N, Q, C]
    boxes: list[Tensor]  # per decoder layer [N, Q, 4], cx, cy, w, h in 0..1
    start: Tensor  # [N, Q, 2], the points from which the first layer started


class DeformableTransformer(nn.Module):
    """Encoder over the fused maps, decoder over the queries that the sentence conditions."""

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
        encoded = self.encoder(self._flatten(maps, positions, padding))
        queries = sentence[:, None].expand(-1, len(query_position), -1)  # the sentence itself asks, for each query
        start = self.reference_points(query_position).sigmoid().expand(len(sentence), -1, -1)
        hidden, boxes = self.decoder(queries, query_position, start, encoded)
        flat = encoded.tokens.split([h * w for h, w in encoded.shapes], dim=1)[:3]
        memory = [x.transpose(1, 2).unflatten(-1, hw) for x, hw in zip(flat, encoded.shapes, strict=False)]
        return TransformerOutput(memory=memory, hidden=hidden, boxes=boxes, start=start)

    def in_parts(
        self, step: int, *per_frame: list[Tensor] | Tensor | None, query_position: Tensor
    ) -> TransformerOutput:
        """The same, `step` frames at a time: frames do not see each other here. per_frame: maps to sentence."""

        def cut(x: list[Tensor] | Tensor | None, some: slice) -> Any:
            return [level[some] for level in x] if isinstance(x, list) else x if x is None else x[some]

        *_, sentence = per_frame
        starts = range(0, len(sentence), step)  # pyright: ignore[reportArgumentType]
        parts = [self(*(cut(x, slice(at, at + step)) for x in per_frame), query_position) for at in starts]
        if len(parts) == 1:
            return parts[0]
        return TransformerOutput(
            memory=[torch.cat(level) for level in zip(*(part.memory for part in parts), strict=True)],
            hidden=[torch.cat(layer) for layer in zip(*(part.hidden for part in parts), strict=True)],
            boxes=[torch.cat(layer) for layer in zip(*(part.boxes for part in parts), strict=True)],
            start=torch.cat([part.start for part in parts]),
        )

    def _flatten(self, maps: list[Tensor], positions: list[Tensor], padding: list[Tensor] | None) -> Levels:
        levels = zip(positions, self.level_embed, strict=True)
        position = [(p.flatten(2).transpose(1, 2) + embed) for p, embed in levels]
        n, device = maps[0].shape[0], maps[0].device
        ones = torch.ones(n, len(maps), 2, device=device)
        return Levels(
            tokens=torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1),
            position=torch.cat(position, dim=1),
            padding=None if padding is None else torch.cat([p.flatten(1) for p in padding], dim=1),
            shapes=[(x.shape[-2], x.shape[-1]) for x in maps],
            valid=ones if padding is None else torch.stack([valid_ratio(p) for p in padding], dim=1),
        )


def valid_ratio(padding: Tensor) -> Tensor:
    """padding [N, h, w] -> [N, 2]: share of the width and of the height that is real, by first row and column."""
    real = (~padding).float()
    return torch.stack((real[:, 0].mean(-1), real[:, :, 0].mean(-1)), dim=-1)


def encoder_reference(shapes: Shapes, valid: Tensor) -> Tensor:
    """Centre of every token, scaled from its own level's real part to that of every level: [N, S, L, 2]."""
    points = []
    for level, (h, w) in enumerate(shapes):
        y, x = torch.meshgrid(
            torch.arange(h, device=valid.device) + 0.5, torch.arange(w, device=valid.device) + 0.5, indexing="ij"
        )
        size = valid[:, level, None] * torch.tensor((w, h), device=valid.device)
        points.append(torch.stack((x, y), dim=-1).flatten(0, 1) / size)
    return torch.cat(points, dim=1)[:, :, None] * valid[:, None]


def inverse_sigmoid(x: Tensor) -> Tensor:
    """Logit of x in 0..1, with both sides held at 1e-5 or more."""
    x = x.clamp(0, 1)
    return (x.clamp(min=1e-5) / (1 - x).clamp(min=1e-5)).log()
