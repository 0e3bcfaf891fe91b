"""RoBERTa and the projection of its words and sentence into the model's width.

Shapes: N sentences, L tokens, C hidden size of the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.network.position_encoding import word_position
from model.referformer.network.roberta import Roberta


@dataclass(frozen=True)
class TokenBatch:
    """Token ids of N sentences: start, words, end, then padding up to the longest."""

    ids: Tensor  # [N, L] int64
    mask: Tensor  # [N, L] bool, True on real tokens

    def to(self, device: torch.device) -> Self:
        """Copy to another device."""
        return type(self)(ids=self.ids.to(device), mask=self.mask.to(device))


@dataclass(frozen=True)
class TextFeatures:
    """Features of N sentences for the rest of the model."""

    words: Tensor  # [N, L, C]
    sentence: Tensor  # [N, C]
    position: Tensor  # [N, L, C], sine
    padding: Tensor  # [N, L] bool, True on padding

    @classmethod
    def stack(cls, features: Sequence[Self]) -> Self:
        """Join features of several sentences, padded to the longest."""
        longest = max(one.words.shape[1] for one in features)

        def pad(x: Tensor) -> Tensor:
            return F.pad(x, (0, 0, 0, longest - x.shape[1]))

        def pad_mask(x: Tensor) -> Tensor:
            return F.pad(x, (0, longest - x.shape[1]), value=True)

        return cls(
            words=torch.cat([pad(one.words) for one in features]),
            sentence=torch.cat([one.sentence for one in features]),
            position=torch.cat([pad(one.position) for one in features]),
            padding=torch.cat([pad_mask(one.padding) for one in features]),
        )


class FeatureResizer(nn.Module):
    """Text width -> model width, for words and sentence alike."""

    def __init__(self, in_dim: int, out_dim: int, dropout: float) -> None:
        super().__init__()
        self.fc = nn.Linear(in_dim, out_dim)
        self.layer_norm = nn.LayerNorm(out_dim, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.layer_norm(self.fc(x)))


def encode_text(encoder: Roberta, resizer: FeatureResizer, words: TokenBatch) -> TextFeatures:
    """Encode ids and mask [N, L]. Raises ValueError if a sentence has more tokens than the encoder takes."""
    longest = encoder.max_tokens
    if words.ids.shape[1] > longest:
        raise ValueError(f"a sentence of {words.ids.shape[1]} tokens; the text encoder takes at most {longest}")
    encoded = encoder(words.ids, words.mask)
    projected = resizer(encoded.last_hidden_state)
    return TextFeatures(
        words=projected,
        sentence=resizer(encoded.pooler_output),
        position=word_position(~words.mask, projected.shape[-1]),
        padding=~words.mask,
    )
