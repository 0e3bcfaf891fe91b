"""Model families: which module loads a checkpoint folder. A new family is one module and one line in a registry.

The module of a family in `FAMILIES` defines two functions with the signatures of `load_segmenter` and
`check_checkpoint` below, that of one in `REFINERS` two with those of `load_refiner` and `check_refiner`.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType

from model.errors import CheckpointError, read_document
from model.segmenter import CheckpointInfo, InferenceRules, Refining, Segmenter

# `model_type` in the folder's config.json -> module, imported when a checkpoint of the family is opened.
FAMILIES = {"referformer": "model.referformer.family", "sam3_video": "model.sam.family"}
REFINERS = {"sam2_video": "model.sam.family", "sam3_video": "model.sam.family"}  # they take masks, not sentences
# Families that a user may try, and why they are not here.
REFUSED = {
    "sam2": "it is a model of images, or a folder from before transformers had SAM 2; download "
    "facebook/sam2.1-hiera-large or another folder with model_type sam2_video",
    "sam3_tracker": "it is the part of SAM 3 for prompts in images; take the whole folder of facebook/sam3, with "
    "model_type sam3_video",
    "sam3": "it is the part for images; take the whole folder of facebook/sam3, with model_type sam3_video",
    "sam3_tracker_video": "it is the part of SAM 3 that follows masks; take the whole folder of facebook/sam3, with "
    "model_type sam3_video",
    "sam3_lite_text": "it is a model of images; take the whole folder of facebook/sam3, with model_type sam3_video",
    "edgetam_video": "it needs the library timm, which refervos does not use",
    "edgetam": "it needs the library timm, which refervos does not use",
}
# Families trained on noun phrases: words of a sentence up to which they take it in whole.
UNDERSTOOD_WORDS = {"sam3_video": 6}
DEFAULT = "referformer"  # of folders whose config.json names no model_type
DEFAULT_RULES = InferenceRules()
DEFAULT_REFINING = Refining()


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
    no_target_below: float | None = None,
    answer: str | None = None,
) -> Segmenter:
    """Load the model of a checkpoint folder.

    device: "cpu", "cuda" or "auto", which takes CUDA if available.
    short_side, max_size: pixels of the model input's shorter side, None for the checkpoint's default, and the most
    that the longer side may have.
    threshold: probability above which a pixel belongs to the object, in (0, 1).
    precision: "fp32", "bf16" or "fp16", of matrix products and convolutions.
    compiled: compile the model with torch.
    rules: treatment of frames, words and masks.
    no_target_below: predicted presence below which a sentence means nothing; None for the checkpoint's default.
    answer: one of `CheckpointInfo.answers`, None for the default.

    Raises CheckpointError if the folder is incomplete, damaged or of an unknown family, ValueError for a device that
    does not exist, an unknown precision, a threshold out of range, rules that the family does not support, or
    `no_target_below` for a checkpoint without a quality head.
    """
    some = {"no_target_below": no_target_below, "answer": answer}  # which not every family has
    return _module(folder, FAMILIES).load_segmenter(
        folder,
        device=device,
        short_side=short_side,
        max_size=max_size,
        threshold=threshold,
        precision=precision,
        compiled=compiled,
        rules=rules,
        **{name: value for name, value in some.items() if value is not None},
    )


def check_checkpoint(folder: str | Path) -> CheckpointInfo:
    """Check a checkpoint folder without loading its weights into memory. Raises CheckpointError as `load_segmenter`."""
    return _module(folder, FAMILIES).check_checkpoint(folder)


def load_refiner(
    folder: str | Path, *, device: str = "auto", precision: str = "fp32", refining: Refining = DEFAULT_REFINING
) -> Segmenter:
    """Load a model that refines masks: a follower that wants `Overlap.sources`.

    device, precision: as for `load_segmenter`. Raises CheckpointError if the folder is incomplete, damaged, lacks a
    tensor or has another one, or is not of a family that refines; ValueError for an unknown device or prompt.
    """
    return _module(folder, REFINERS).load_refiner(folder, device=device, precision=precision, refining=refining)


def check_refiner(folder: str | Path) -> CheckpointInfo:
    """Check a folder without loading its weights into memory. Raises CheckpointError as `load_refiner`."""
    return _module(folder, REFINERS).check_refiner(folder)


def _module(folder: str | Path, families: dict[str, str]) -> ModuleType:
    """Import the module that `families` has for a folder. Raises CheckpointError."""
    path = Path(folder) / "config.json"
    values = read_document(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: it must be a JSON object, not {type(values).__name__}")
    if "model_type" not in values and DEFAULT not in families:
        text = "no model_type, as in folders of ReferFormer, which takes sentences, not masks"
        raise CheckpointError(f"{path}: {text}; 'rvos refine' needs one of {', '.join(families)}")
    name = values.get("model_type", DEFAULT)
    if isinstance(name, str) and name in families:
        return import_module(families[name])
    reason = f"unknown model_type {name!r}; choose from {', '.join(families)}"
    if isinstance(name, str) and name in REFUSED:
        reason = f"model_type {name!r} is not supported: {REFUSED[name]}"
    elif isinstance(name, str) and name in REFINERS:
        reason = f"a {name} model takes masks, not sentences; segment with another one, then use 'rvos refine'"
    elif isinstance(name, str) and name in FAMILIES:
        reason = f"a {name} model takes sentences, not masks; 'rvos refine' needs one of {', '.join(REFINERS)}"
    raise CheckpointError(f"{path}: {reason}")
