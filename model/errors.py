"""Errors of `model` that a user sees, and the checks of a checkpoint's files that raise them."""

import json
import os
from pathlib import Path
from typing import Any

MAX_DIGITS = 1000  # of an integer in JSON; Python itself refuses more than 4300
MAX_DOCUMENT_BYTES = 2**20
FOLDERS = (
    "a checkpoint is a folder with config.json and model.safetensors: 'rvos convert' writes those of ReferFormer, "
    "'hf download' those of SAM (docs/models.md)"
)
AGAIN = "download the folder again, or undo what was changed in it"
MAX_REASON = 400  # characters of an error of another library


class CheckpointError(ValueError):
    """A checkpoint, its tokenizer or its config is missing, damaged, unsafe or of another model."""


class WeightsError(CheckpointError):
    """The tensors of a checkpoint do not fit its model, whichever machine loads it."""


class FastModeError(ValueError):
    """A precision or compilation does not work here, or its masks differ too much from plain float32.

    `parity` is the share of mask pixels that differ, None if the reason is another one.
    """

    def __init__(self, text: str, parity: float | None = None):
        super().__init__(text)
        self.parity = parity


def require_checkpoint_file(path: Path) -> None:
    """Raise CheckpointError if a file of a checkpoint folder is missing."""
    if not path.parent.exists():
        raise CheckpointError(f"{path.parent}: folder not found; {FOLDERS}")
    if not path.is_file():
        what = "not a regular file" if os.path.lexists(path) else "file not found"
        raise CheckpointError(f"{path}: {what}; {FOLDERS}")


def read_document(path: Path, most_bytes: int = MAX_DOCUMENT_BYTES) -> Any:
    """Return the values of a JSON file of a checkpoint. Raises CheckpointError if it is missing, large or damaged."""
    require_checkpoint_file(path)
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ValueError(f"it has more than {most_bytes} bytes")
        return json.loads(content.decode("utf-8"), parse_int=_integer)
    except (ValueError, RecursionError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; download or convert the checkpoint again") from None


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number in it has {len(digits)} digits")
    return int(digits)


def one_line(error: Exception) -> str:
    """Return the text of an error of another library on one line, as far as it fits on a screen."""
    text = " ".join(str(error).split())
    return text if len(text) <= MAX_REASON else f"{text[:MAX_REASON]} ..."
