"""Dynamic mask head: each query predicts its own small convolution (Tian et al., CondInst; ReferFormer, section 3.4).

Shapes: N frames, Q queries, D mask feature channels, h x w pixels of the mask.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DynamicMaskHead(nn.Module):
    """`layers` 1 x 1 convolutions over the mask features and the distance of each pixel to the query's centre."""

    def __init__(self, feature_dim: int, channels: int, layers: int, stride: int) -> None:
        super().__init__()
        widths = [feature_dim + 2, *[channels] * (layers - 1), 1]
        self.shapes = [(out, into) for into, out in pairwise(widths)]  # (out, in) of each layer
        self.stride = stride

    @property
    def num_parameters(self) -> int:
        """Count the parameters that one query predicts: the weights of all layers, then their biases."""
        return sum(out * into + out for out, into in self.shapes)

    def forward(self, features: Tensor, parameters: Tensor, centres: Tensor) -> Tensor:
        """features [N, D, h, w], parameters [N, Q, num_parameters], centres [N, Q, 2] x, y in pixels of the model
        input -> mask logits [N, Q, h, w]."""
        weights, biases = self._unpack(parameters)
        x = torch.einsum("nqod,ndp->nqop", weights[0][..., :-2], features.flatten(2))
        return self._later_layers(x, weights, biases, centres, features.shape[-2:])

    def forward_fused(self, convolution: nn.Conv2d, maps: Tensor, parameters: Tensor, centres: Tensor) -> Tensor:
        """Compute `forward` on the features `convolution(maps)`, maps [N, C, h, w], without computing these features.

        The first layer of a query reduces all D features to a few channels. Both are linear, so they fuse into one
        narrow convolution per query: far less work than the wide one if queries are few.
        """
        weights, biases = self._unpack(parameters)
        narrow = torch.einsum("nqod,dcij->nqocij", weights[0][..., :-2], convolution.weight)
        channels = [
            F.conv2d(x[None], kernel.flatten(0, 1), padding=convolution.padding)  # pyright: ignore[reportArgumentType]
            for x, kernel in zip(maps, narrow, strict=True)
        ]
        x = torch.cat(channels).unflatten(1, narrow.shape[1:3]).flatten(3)
        if convolution.bias is not None:
            x = x + (weights[0][..., :-2] @ convolution.bias)[..., None]
        return self._later_layers(x, weights, biases, centres, maps.shape[-2:])

    def _later_layers(
        self, x: Tensor, weights: list[Tensor], biases: list[Tensor], centres: Tensor, size: Sequence[int]
    ) -> Tensor:
        """Finish from the first layer's product with the features, x [N, Q, channels, h w] -> logits [N, Q, h, w]."""
        h, w = size
        x = x + weights[0][..., -2:] @ self._offsets(centres, h, w) + biases[0]
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = weight @ F.relu(x, inplace=True) + bias
        return x.unflatten(-1, (h, w)).squeeze(2)

    def _unpack(self, parameters: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Split parameters into weights [N, Q, out, in] and biases [N, Q, out, 1] of each layer."""
        sizes = [out * into for out, into in self.shapes] + [out for out, _ in self.shapes]
        parts = parameters.split(sizes, dim=-1)
        weights = [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=False)]
        return weights, [part[..., None] for part in parts[len(self.shapes) :]]

    def _offsets(self, centres: Tensor, h: int, w: int) -> Tensor:
        """Return centre minus pixel, x then y, in pixels of the model input: [N, Q, 2, h w]."""
        y, x = torch.meshgrid(
            torch.arange(h, device=centres.device), torch.arange(w, device=centres.device), indexing="ij"
        )
        grid = torch.stack((x, y)).flatten(1) * self.stride + self.stride // 2
        return centres[..., None] - grid
