"""Attention of many pixels to few words, for inference: the projections of the pixels are folded into the words.

Attention computes (x Wq + bq) k for each pixel x and word k, and sums values v Wo. With L words and M heads there are
only L M different products Wq k and v Wo. If that is less than the C channels, computing them first saves both
projections of every pixel. The result is the same except for rounding.

Shapes: B clips, P pixels of all frames, L words, M heads, C channels.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.network.text_encoder import TextFeatures


def word_attention(attention: nn.MultiheadAttention, text: TextFeatures) -> Callable[[Tensor], Tensor]:
    """Return a function that lets pixels [B, P, C] attend to their sentence -> [B, P, C]; keys carry the position."""
    keys = text.words + text.position
    if attention.training or keys.shape[1] * attention.num_heads > attention.embed_dim + keys.shape[1]:
        return lambda x: attention(x, keys, text.words, key_padding_mask=text.padding, need_weights=False)[0]
    return _folded(attention, keys, text.words, text.padding)


def _folded(
    attention: nn.MultiheadAttention, keys: Tensor, values: Tensor, padding: Tensor
) -> Callable[[Tensor], Tensor]:
    heads, dim = attention.num_heads, attention.embed_dim
    weights, biases = attention.in_proj_weight.view(3, dim, dim), attention.in_proj_bias.view(3, dim)
    key, value = (
        F.linear(x, weights[i], biases[i]).unflatten(-1, (heads, -1)).transpose(1, 2)  # [B, M, L, C / M]
        for i, x in ((1, keys), (2, values))
    )
    scale = (dim // heads) ** -0.5
    into = (key @ weights[0].view(heads, -1, dim) * scale).flatten(1, 2).transpose(1, 2)  # [B, C, M L]
    bias = (key @ biases[0].view(heads, -1, 1) * scale).squeeze(-1)  # [B, M, L]
    bias = bias.masked_fill(padding[:, None], -torch.inf).flatten(1)[:, None]
    out = (value @ attention.out_proj.weight.view(dim, heads, -1).permute(1, 2, 0)).flatten(1, 2)  # [B, M L, C]

    def attend(x: Tensor) -> Tensor:
        shares = torch.baddbmm(bias, x, into).unflatten(-1, (heads, -1)).softmax(-1).flatten(-2)
        return torch.baddbmm(attention.out_proj.bias, shares, out)

    return attend
