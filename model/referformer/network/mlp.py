"""The two small perceptrons of the model: heads, and the feed-forward half of every transformer layer."""

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUMBERS_AT_ONCE = {"cpu": 2**20}  # of one hidden layer: as many as a core's cache holds with the weights
NUMBERS_ELSEWHERE = 2**25  # 128 MiB in float32


class MLP(nn.Module):
    """`layers` linear layers with ReLU between them; [..., in_dim] -> [..., out_dim]."""

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, layers: int) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (layers - 1), out_dim]
        self.layers = nn.ModuleList(nn.Linear(into, out) for into, out in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers[:-1]:
            x = F.relu(layer(x), inplace=True)
        return self.layers[-1](x)


def init_xavier(*layers: nn.Linear | nn.Conv2d) -> None:
    """Initialise weights by Xavier uniform and biases with 0."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def token_wise(function: Callable[..., Tensor], *tokens: Tensor, width: int) -> Tensor:
    """Apply a function that treats every token independently, a bounded number of tokens at a time.

    tokens: tensors [B, N, ...], split along N together. width: numbers per token in the function's widest tensor. The
    hidden layer of a feed-forward block over all pixels of a clip would otherwise be the largest tensor of the whole
    model. On a CPU, pieces that fit in its cache are also faster.
    """
    batch, count = tokens[0].shape[:2]
    numbers = NUMBERS_AT_ONCE.get(tokens[0].device.type, NUMBERS_ELSEWHERE)
    step = max(1, numbers // (batch * width))
    if count <= step:
        return function(*tokens)
    return torch.cat([function(*parts) for parts in zip(*(x.split(step, dim=1) for x in tokens), strict=True)], dim=1)
