"""The one error of `model` that a user sees: what lies on disk is not a usable checkpoint."""


class CheckpointError(ValueError):
    """A checkpoint, its tokenizer or its config is missing, damaged, unsafe or of another model."""
