"""Bound the header of a safetensors file before the library makes an object of every name in it."""

from pathlib import Path

from model.errors import CheckpointError

MAX_HEADER_BYTES = 2**22  # of names and shapes; those of published models have less than 300 KB


def require_small_header(path: Path) -> None:
    """Raise CheckpointError if the header of a file of safetensors has more than MAX_HEADER_BYTES."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MAX_HEADER_BYTES:
        raise CheckpointError(f"{path}: damaged, or not a model: its header alone has {size} bytes; download it again")
