"""The baseline of throughput.py: ReferFormer as the published inference scripts run it, in our own words.

For each expression the frames are read again, the whole model runs (backbone included), masks are made for every
query after every decoder layer, and one of them is kept. Deformable attention samples level by level with
`grid_sample`, attention returns its weights, the dynamic convolution is one grouped convolution over features that
are repeated for each query, and padding masks are carried although nothing is padded. Weights are those of a
`ReferFormer`, so both ways give the same masks.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.inference.postprocess import choose_query, resize_logits
from model.referformer.inference.preprocess import normalize
from model.referformer.network import deformable_attention, deformable_transformer, pixel_decoder, word_attention
from model.referformer.network.mask_head import DynamicMaskHead
from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch


@torch.inference_mode()
def segment(
    model: ReferFormer, frames: Sequence[np.ndarray], words: TokenBatch, size: tuple[int, int]
) -> tuple[np.ndarray, Tensor]:
    """One sentence about uint8 frames [h, w, 3]: masks bool [T, H, W], and the logits [T, H, W] that were cut at 0."""
    device = next(model.parameters()).device
    pixels = normalize(torch.from_numpy(np.stack(frames)).to(device))[None]
    padding = torch.zeros(1, len(frames), *pixels.shape[-2:], dtype=torch.bool, device=device)
    with published_operations():
        output = model(pixels, words.to(device), padding=padding)
    query = choose_query(output.logits[0])
    logits = resize_logits(output.masks[0, :, query], size)
    return (logits.sigmoid() > 0.5).cpu().numpy(), logits.cpu()


@contextmanager
def published_operations() -> Iterator[None]:
    """Within, the model's parts compute what they do by the operations of the published code."""
    with ExitStack() as stack:
        for owner, name, replacement in (
            (deformable_attention, "add_border", lambda value, shapes: value),
            (deformable_attention, "sample_bilinear", sample_by_level),
            (deformable_attention, "token_wise", at_once),
            (deformable_transformer, "token_wise", at_once),
            (pixel_decoder, "token_wise", at_once),
            (word_attention, "_folded", unfolded),
            (nn.MultiheadAttention, "forward", with_weights),
            (DynamicMaskHead, "forward", grouped_convolutions),
        ):
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def sample_by_level(value: Tensor, shapes: list[tuple[int, int]], locations: Tensor, weights: Tensor) -> Tensor:
    """Compute `sample_bilinear` as the published code."""
    n, _, heads, width = value.shape
    sampled = []
    for level, (part, (h, w)) in enumerate(zip(value.split([h * w for h, w in shapes], dim=1), shapes, strict=True)):
        maps = part.permute(0, 2, 3, 1).reshape(n * heads, width, h, w)
        grid = (2 * locations[:, :, :, level] - 1).transpose(1, 2).flatten(0, 1)
        sampled.append(F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False))
    shares = weights.transpose(1, 2).flatten(0, 1).flatten(2)[:, None]
    mixed = (torch.stack(sampled, dim=-2).flatten(-2) * shares).sum(-1)
    return mixed.view(n, heads * width, -1).transpose(1, 2).contiguous()


def at_once(function: Any, *tokens: Tensor, width: int) -> Tensor:
    """Replace `token_wise`: apply `function` to all tokens at once."""
    return function(*tokens)


def unfolded(attention: nn.MultiheadAttention, keys: Tensor, values: Tensor, padding: Tensor) -> Any:
    """Replace the folded projections of `word_attention` by plain attention."""
    return lambda x: attention(x, keys, values, key_padding_mask=padding)[0]


_attend = nn.MultiheadAttention.forward


def with_weights(self: nn.MultiheadAttention, *args: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
    """Attention by its whole matrix of weights, which is returned, as by default."""
    return _attend(self, *args, **options | {"need_weights": True})


def grouped_convolutions(self: DynamicMaskHead, features: Tensor, parameters: Tensor, centres: Tensor) -> Tensor:
    """Replace `DynamicMaskHead.forward` by grouped convolutions."""
    (n, dim, h, w), queries = features.shape, parameters.shape[1]
    offsets = self._offsets(centres, h, w).view(n, queries, 2, h, w)
    x = torch.cat((features[:, None].expand(-1, queries, -1, -1, -1), offsets), dim=2)
    x = x.reshape(1, n * queries * (dim + 2), h, w)
    weights, biases = self._unpack(parameters)
    last = len(weights) - 1
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        kernel = weight.flatten(0, 2)[..., None, None]
        x = F.conv2d(x, kernel, bias.flatten(), groups=n * queries)
        x = F.relu(x) if number < last else x
    return x.view(n, queries, h, w)
