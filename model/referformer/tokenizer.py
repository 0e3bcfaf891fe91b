"""Sentences to RoBERTa token ids, from files in a local folder; nothing is ever downloaded.

The `tokenizers` library reads the files. The tokenizer classes of transformers turn an empty folder, or files with
unknown names, into a tokenizer of five tokens without an error, so here every tokenizer is checked against the
vocabulary of its model.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import AddedToken, models, pre_tokenizers, processors, trainers

from model.errors import CheckpointError, read_document, require_checkpoint_file
from model.referformer.network.text_encoder import TokenBatch

MAX_BYTES = 2**25  # of a file
MAX_TOKENS = 2**20
START, PAD, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = {"<s>": START, "<pad>": PAD, "</s>": END, "<unk>": UNKNOWN}


class Tokenizer:
    """Byte-level BPE as published: cased, no space put before the first word, start and end ids around."""

    def __init__(self, backend: tokenizers.Tokenizer):
        self.backend = backend
        self.backend.no_padding()
        self.backend.no_truncation()

    def __call__(self, expressions: Sequence[str]) -> TokenBatch:
        """Return ids [B, L] int64, padded on the right to the longest, and their mask [B, L] bool, True = real."""
        rows = [encoding.ids for encoding in self.backend.encode_batch(list(expressions))]
        ids = torch.full((len(rows), max(map(len, rows), default=0)), PAD, dtype=torch.int64)
        mask = torch.zeros(ids.shape, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return TokenBatch(ids=ids, mask=mask)

    def count(self, expression: str) -> int:
        """Count the ids of one expression, start and end included."""
        return len(self.backend.encode(expression).ids)

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` into an existing folder."""
        self.backend.save(str(folder / "tokenizer.json"))


def load_tokenizer(folder: str | Path, vocab_size: int) -> Tokenizer:
    """Read `tokenizer.json`, or else `vocab.json` with `merges.txt`, from `folder`.

    Raises CheckpointError if they are missing or unreadable, if the number of tokens is not `vocab_size`, or if the
    ids of start, padding, end and unknown are not RoBERTa's 0, 1, 2, 3.
    """
    folder = Path(folder)
    tokenizer = Tokenizer(_read(tokenizer_files(folder)))
    ids = tokenizer.backend.get_vocab().values()
    if set(ids) != set(range(vocab_size)):
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(ids)} tokens with ids up to {max(ids, default=None)}, the model's "
            f"vocabulary is {vocab_size}; give the folder with the tokenizer files that the model was trained with"
        )
    found = {token: tokenizer.backend.token_to_id(token) for token in SPECIAL}
    if found != SPECIAL:
        raise CheckpointError(f"{folder}: the special tokens have the ids {found}, the model needs {SPECIAL}")
    layout = tokenizer.backend.encode("").ids
    if layout != [START, END]:
        raise CheckpointError(f"{folder}: an empty sentence becomes the ids {layout}, the model needs [{START}, {END}]")
    return tokenizer


def write_byte_level_tokenizer(folder: str | Path) -> int:
    """Write a tokenizer with one id for each byte and no merges. Returns its number of tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = SPECIAL | {byte: len(SPECIAL) + i for i, byte in enumerate(alphabet)}
    tokenizer = Tokenizer(_byte_level(models.BPE(vocab=vocab, merges=[])))
    tokenizer.save(Path(folder))
    return tokenizer.backend.get_vocab_size()


def write_tokenizer(folder: str | Path, sentences: Sequence[str], vocab_size: int) -> None:
    """Write a tokenizer of `vocab_size` tokens: the bytes, and the merges that shorten `sentences` most.

    Raises CheckpointError if there are not as many merges in the sentences, or no room for the bytes.
    """
    fewest = write_byte_level_tokenizer(folder)
    if vocab_size == fewest:
        return
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,  # <mask> comes last
        special_tokens=[AddedToken(token, special=True) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    learned = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    whole = Tokenizer(_byte_level(models.BPE(vocab=learned["vocab"], merges=merges)))
    if whole.backend.get_vocab_size() != vocab_size:
        raise CheckpointError(
            f"vocab_size is {vocab_size}; the sentences make a tokenizer of {fewest} (bytes) to "
            f"{whole.backend.get_vocab_size()} tokens; give a folder with a tokenizer of {vocab_size} tokens, such as "
            "roberta-base, or a recipe with another vocab_size under [model.text]"
        )
    whole.save(Path(folder))


def tokenizer_files(folder: Path) -> tuple[Path, ...]:
    """Return the files that `load_tokenizer` reads: the first complete form. Raises CheckpointError."""
    whole, vocab, merges = (folder / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if os.path.lexists(whole):
        require_checkpoint_file(whole)
        return (whole,)
    if vocab.is_file() and merges.is_file():
        return (vocab, merges)
    raise CheckpointError(f"{folder}: no tokenizer; the folder must hold tokenizer.json, or vocab.json and merges.txt")


def _read(files: tuple[Path, ...]) -> tokenizers.Tokenizer:
    try:
        document = read_document(files[0], MAX_BYTES)
        model = _plain_model(document) if len(files) == 1 else {"vocab": document, "merges": _read_lines(files[1])}
        vocab = model["vocab"]
        if not isinstance(vocab, dict) or not all(type(i) is int and 0 <= i < MAX_TOKENS for i in vocab.values()):
            raise ValueError(f"the vocabulary must give each token an id below {MAX_TOKENS}")
        merges: Any = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
        if not all(len(pair) == 2 and vocab.keys() >= {*pair, pair[0] + pair[1]} for pair in merges):
            raise ValueError("a merge is not of two tokens to a third one")
        return _byte_level(models.BPE(vocab=vocab, merges=merges, unk_token=model.get("unk_token")))
    except KeyError as error:
        raise CheckpointError(f"{files[0]}: cannot read the tokenizer: it has no {error}; fetch it again") from None
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{files[0]}: cannot read the tokenizer: {error}") from None


def _plain_model(document: Any) -> dict[str, Any]:
    """Return the model in a `tokenizer.json`. Raises ValueError unless it is of RoBERTa's form, with other tokens.

    The library would build any other tokenizer too, among them some that take all memory or end the process.
    """
    if not isinstance(document, dict):
        raise ValueError("it must hold an object")
    model, added = document["model"], document["added_tokens"]
    parts = {key: (document.get(key) or {}).get("type") for key in ("normalizer", "pre_tokenizer", "post_processor")}
    if parts != {"normalizer": None, "pre_tokenizer": "ByteLevel", "post_processor": "RobertaProcessing"}:
        raise ValueError(f"it is not a tokenizer of RoBERTa: {parts}")
    if document["pre_tokenizer"].get("add_prefix_space") or document["post_processor"].get("add_prefix_space"):
        raise ValueError("add_prefix_space must be false")
    if document["pre_tokenizer"].get("use_regex", True) is not True:
        raise ValueError("use_regex must be true")
    if document["post_processor"].get("cls") != ["<s>", START] or document["post_processor"].get("sep") != [
        "</s>",
        END,
    ]:
        raise ValueError("its sentences do not start with <s> 0 and end with </s> 2")
    odd = [key for key, value in model.items() if value and key not in ("type", "vocab", "merges", "unk_token")]
    if model.get("type", "BPE") != "BPE" or odd or not {token["content"] for token in added} <= {*SPECIAL, "<mask>"}:
        raise ValueError("it is not byte-level BPE with the special tokens of RoBERTa alone")
    return model


def _read_lines(path: Path) -> list[str]:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path.name} has more than {MAX_BYTES} bytes")
    return [line for line in content.decode("utf-8").split("\n") if line and not line.startswith("#version")]


def _byte_level(model: models.BPE) -> tokenizers.Tokenizer:
    """Build RoBERTa's tokenizer around its vocabulary and merges."""
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", END), ("<s>", START), add_prefix_space=False)
    tokenizer.add_special_tokens([*SPECIAL, AddedToken("<mask>", lstrip=True)])
    return tokenizer
