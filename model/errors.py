"""The errors of `model` that a user sees."""


class CheckpointError(ValueError):
    """A checkpoint, its tokenizer or its config is missing, damaged, unsafe or of another model."""


class ParityError(ValueError):
    """Masks computed in a faster way are not those of plain float32."""
