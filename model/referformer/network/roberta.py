"""RoBERTa (Liu et al. 2019): token ids to one vector per token and one per sentence.

Written here because importing it from transformers takes longer than everything else that an actor imports. The
names of the parameters are those of transformers, so that published weights load; a test compares the two bit by bit.

Shapes: N sentences, L tokens, C hidden size, h attention heads.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.config import TextConfig

PADDING = 1  # id of the padding token; positions count from the next number
EPSILON = 1e-5
INITIAL_DEVIATION = 0.02  # of fresh weights


class RobertaOutput(NamedTuple):
    last_hidden_state: Tensor  # [N, L, C]
    pooler_output: Tensor  # [N, C]


class Roberta(nn.Module):
    """The encoder with its pooler, randomly initialised."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.max_tokens = config.max_tokens
        self.embeddings = RobertaEmbeddings(config)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(RobertaLayer(config) for _ in range(config.layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(config.hidden_size, config.hidden_size)})
        self.apply(_initialise)

    def forward(self, ids: Tensor, mask: Tensor) -> RobertaOutput:
        """ids [N, L] int64; mask [N, L] bool, True on real tokens."""
        x = self.embeddings(ids)
        attended = None if mask.all() else mask[:, None, None, :].expand(-1, 1, ids.shape[1], -1)
        for layer in self.encoder["layer"].children():
            x = layer(x, attended)
        return RobertaOutput(x, self.pooler["dense"](x[:, 0]).tanh())


class RobertaEmbeddings(nn.Module):
    """Sum of a word, a position and the one token type."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=PADDING)
        self.token_type_embeddings = nn.Embedding(1, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=EPSILON)
        self.dropout = nn.Dropout(config.dropout)
        self.position_embeddings = nn.Embedding(config.max_positions, config.hidden_size, padding_idx=PADDING)

    def forward(self, ids: Tensor) -> Tensor:
        real = ids.ne(PADDING).int()
        positions = (real.cumsum(1).type_as(real) * real).long() + PADDING
        token_type = self.token_type_embeddings(torch.zeros_like(ids))
        x = self.word_embeddings(ids) + token_type + self.position_embeddings(positions)
        return self.dropout(self.LayerNorm(x))


class RobertaLayer(nn.Module):
    """Self-attention and a perceptron, each with a residual and a norm behind it."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attention = nn.ModuleDict(
            {"self": RobertaSelfAttention(config), "output": RobertaResidual(size, size, config.dropout)}
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size, config.intermediate_size)})
        self.output = RobertaResidual(config.intermediate_size, size, config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(F.gelu(self.intermediate["dense"](x)), x)


class RobertaSelfAttention(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)  # of the attention weights; read below, never called

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """x [N, L, C]; mask [N, 1, L, L] bool, True where a token may look; None: everywhere."""
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        dropout = self.dropout.p if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(2)


class RobertaResidual(nn.Module):
    def __init__(self, in_size: int, size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
