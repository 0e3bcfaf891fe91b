"""Model families: which module loads a checkpoint folder. A new family is one module and one line in `FAMILIES`.

The module defines two functions with the signatures of `load_segmenter` and `check_checkpoint` below.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from model.errors import CheckpointError, read_document
from model.segmenter import CheckpointInfo, InferenceRules, Segmenter

# `model_type` in the folder's config.json -> module, imported when a checkpoint of the family is opened.
FAMILIES = {"referformer": "model.referformer.family"}
DEFAULT = "referformer"  # of folders whose config.json names no model_type
DEFAULT_RULES = InferenceRules()


def load_segmenter(
    folder: str | Path,
    *,
    device: str = "auto",
    short_side: int | None = None,
    max_size: int | None = None,
    threshold: float = 0.5,
    precision: str = "fp32",
    compiled: bool = False,
    rules: InferenceRules = DEFAULT_RULES,
) -> Segmenter:
    """Load the model of a checkpoint folder.

    device: "cpu", "cuda" or "auto", which takes CUDA if available.
    short_side, max_size: pixels of the model input's shorter side, None for the checkpoint's default, and the most
    that the longer side may have.
    threshold: probability above which a pixel belongs to the object, in (0, 1).
    precision: "fp32", "bf16" or "fp16", of matrix products and convolutions.
    compiled: compile the model with torch.
    rules: treatment of frames, words and masks.

    Raises CheckpointError if the folder is incomplete, damaged or of an unknown family, ValueError for a device that
    does not exist, an unknown precision, a threshold out of range, or rules that the family does not support.
    """
    return _module(folder).load_segmenter(
        folder,
        device=device,
        short_side=short_side,
        max_size=max_size,
        threshold=threshold,
        precision=precision,
        compiled=compiled,
        rules=rules,
    )


def check_checkpoint(folder: str | Path) -> CheckpointInfo:
    """Check a checkpoint folder without loading its weights into memory. Raises CheckpointError as `load_segmenter`."""
    return _module(folder).check_checkpoint(folder)


def _module(folder: str | Path) -> ModuleType:
    path = Path(folder) / "config.json"
    values = read_document(path)
    name = values.get("model_type", DEFAULT) if isinstance(values, dict) else DEFAULT
    if not isinstance(name, str) or name not in FAMILIES:
        raise CheckpointError(f"{path}: unknown model_type {name!r}; choose from {', '.join(FAMILIES)}")
    return import_module(FAMILIES[name])
