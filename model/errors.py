"""The errors of `model` that a user sees."""


class CheckpointError(ValueError):
    """A checkpoint, its tokenizer or its config is missing, damaged, unsafe or of another model."""


class FastModeError(ValueError):
    """A faster way to compute does not work here, or its masks are not those of plain float32."""
