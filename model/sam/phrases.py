"""Sentences to the token ids of SAM 3's text tower, by the tokenizer in its folder."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from model.errors import AGAIN, CheckpointError, one_line

FILES = ("tokenizer.json", "vocab.json", "merges.txt")
OPTIONAL_FILES = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


@dataclass(frozen=True)
class Phrases:
    """A tokenizer and the number of tokens that the text tower takes."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    def count(self, expression: str) -> int:
        """Count the tokens of an expression, start and end included."""
        return len(self.tokenizer(expression).input_ids)

    def encode(self, expression: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return ids and mask, both int64 [1, max_tokens], padded as published.

        Raises ValueError if the expression is too long, which the text tower would find out in the middle of a video.
        """
        if (count := self.count(expression)) > self.max_tokens:
            raise ValueError(f"the expression has {count} tokens, at most {self.max_tokens} fit")
        found = self.tokenizer(expression, return_tensors="pt", padding="max_length", max_length=self.max_tokens)
        return found.input_ids.to(device), found.attention_mask.to(device)


def load_phrases(folder: Path, config: PreTrainedConfig) -> Phrases:
    """Read the tokenizer of a folder. Raises CheckpointError if it is missing, or not that of the model.

    transformers turns a folder without these files into a tokenizer that knows no words.
    """
    text = config.detector_config.text_config
    if not (folder / FILES[0]).is_file() and not all((folder / name).is_file() for name in FILES[1:]):
        raise CheckpointError(
            f"{folder}: no tokenizer; the folder must hold tokenizer.json, or vocab.json and merges.txt"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        layout = tokenizer("").input_ids
    except Exception as error:  # of transformers, of many kinds
        reason = one_line(error)
        raise CheckpointError(
            f"{folder}: the tokenizer cannot be read; {AGAIN} ({type(error).__name__}: {reason})"
        ) from None
    if len(tokenizer) > text.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens, the model's vocabulary is {text.vocab_size}; {AGAIN}"
        )
    if len(layout) != 2 or layout != [tokenizer.bos_token_id, tokenizer.eos_token_id]:
        raise CheckpointError(f"{folder}: an empty sentence becomes the ids {layout}, not start and end; {AGAIN}")
    return Phrases(tokenizer, text.max_position_embeddings)
