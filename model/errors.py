"""Errors of `model` that a user sees."""

from pathlib import Path


class CheckpointError(ValueError):
    """A checkpoint, its tokenizer or its config is missing, damaged, unsafe or of another model."""


class FastModeError(ValueError):
    """A precision or compilation does not work here, or its masks differ too much from plain float32."""


def require_checkpoint_file(path: Path) -> None:
    """Raise CheckpointError if a file of a checkpoint folder is missing."""
    if not path.is_file():
        raise CheckpointError(
            f"{path}: file not found; a checkpoint is a folder with config.json, model.safetensors and a tokenizer, "
            "as 'rvos convert' writes it"
        )
