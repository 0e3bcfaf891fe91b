"""Deformable attention (Zhu et al., Deformable DETR): every query reads a few points of each level, in plain torch.

Shapes: N = B T frames, S tokens of all levels together, Q queries, C channels, M heads, L levels, P points.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.network.mlp import init_xavier, token_wise

Shapes = list[tuple[int, int]]  # (h, w) of each level
DENSE_ROWS = 2**9  # of one frame: tables up to this size are read by a matrix product in training


@dataclass(frozen=True)
class Levels:
    """Feature maps of N frames, flattened level after level."""

    tokens: Tensor  # [N, S, C]
    position: Tensor  # [N, S, C], with the level embedding
    padding: Tensor | None  # [N, S] bool, True on padding; None without padding
    shapes: Shapes
    valid: Tensor  # [N, L, 2] share of width and height that is not padding


class DeformableAttention(nn.Module):
    """Each query reads P points per level and head around its reference point."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Point the heads in evenly spread directions, point p at distance p, all with equal weight."""
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
        table = add_border(value.unflatten(-1, (self.heads, -1)), levels.shapes)

        def read(query: Tensor, reference: Tensor) -> Tensor:
            sampled = sample_bilinear(table, levels.shapes, *self.sampling(query, reference, levels.shapes))
            return self.output_proj(sampled)

        return token_wise(read, query, reference, width=4 * self.heads * self.levels * self.points)

    def sampling(self, query: Tensor, reference: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Return the points to read, [N, Q, M, L, P, 2] x, y in 0..1, and their weights, [N, Q, M, L, P]."""
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


def add_border(value: Tensor, shapes: Shapes) -> Tensor:
    """Surround the tokens of each level with zeros for reads outside: [N, S, M, C / M] -> [N, R, M, C / M]."""
    maps = value.split([h * w for h, w in shapes], dim=1)
    padded = [F.pad(x.unflatten(1, hw), (0, 0, 0, 0, 1, 1, 1, 1)) for x, hw in zip(maps, shapes, strict=True)]
    return torch.cat([x.flatten(1, 2) for x in padded], dim=1)


def sample_bilinear(table: Tensor, shapes: Shapes, locations: Tensor, weights: Tensor) -> Tensor:
    """Sum bilinear samples with their weights; zero outside the maps.

    table as `add_border` returns it, locations [N, Q, M, L, P, 2], weights [N, Q, M, L, P] -> [N, Q, C]. Equals one
    `grid_sample` (no corner alignment) per level, weighted and summed. Here all corners of all points of a query
    and head are one bag of rows of the table, so nothing of size Q x L x P x C is ever written.
    """
    n, _, m, width = table.shape
    points = weights.shape[-1]

    def integers(values: list) -> Tensor:
        """One value or pair per level -> [M, L, P(, 2)], expanded in memory: broadcasting would cost more time."""
        each = torch.tensor(values, dtype=torch.int32, device=table.device)
        return each[None, :, None].expand(m, -1, points, *each.shape[1:]).contiguous()

    size = integers([(w, h) for h, w in shapes])
    row = size[..., 0] + 2
    areas = [(h + 2) * (w + 2) for h, w in shapes]
    start = integers([sum(areas[:level]) for level in range(len(areas))])
    frame = torch.arange(n, dtype=torch.int32, device=table.device).view(n, 1, 1, 1, 1) * table.shape[1]
    head = torch.arange(m, dtype=torch.int32, device=table.device).view(m, 1, 1)

    xy = torch.minimum((locations * size + 0.5).clamp(min=0), (size + 1).to(locations.dtype))
    corner = torch.minimum(xy.detach().int(), size).clamp(min=0)  # clamped again: NaN must not index outside the table
    (x, y), (right, down) = corner.unbind(-1), (xy - corner).unbind(-1)
    lower = weights * down
    upper = weights - lower
    shares = torch.stack((upper - upper * right, upper * right, lower - lower * right, lower * right), dim=-1)
    if table.requires_grad and table.shape[1] <= DENSE_ROWS:
        # As one matrix product: the backward pass of the bags below is far slower for small tables.
        first = y * row + x + start
        rows = torch.stack((first, first + 1, first + row, first + row + 1), dim=-1).flatten(3).long().transpose(1, 2)
        mix = shares.flatten(3).to(table.dtype).transpose(1, 2)  # [N, M, Q, K], as rows
        table = table.transpose(1, 2)
        mix = mix.new_zeros(*rows.shape[:3], table.shape[2]).scatter_add_(-1, rows, mix)
        return (mix @ table).transpose(1, 2).flatten(2)
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
