"""Checkpoint folders of SAM 2 and SAM 3 as the hub gives them: no conversion, no remote code, nothing fetched.

    config.json                           with model_type "sam2_video" or "sam3_video"
    model.safetensors                     or model.safetensors.index.json and the files that it names
    preprocessor_config.json, processor_config.json, video_preprocessor_config.json
                                          optional: mean and standard deviation of the input
    tokenizer.json, or vocab.json and merges.txt; tokenizer_config.json
                                          of SAM 3, read where sentences are

Other files, such as pickled weights beside them, are neither read nor part of the digest.
"""

import hashlib
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import (
    AutoConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Sam2VideoModel,
    Sam3TrackerVideoModel,
    Sam3VideoModel,
)
from transformers.utils import logging

from model.errors import AGAIN, CheckpointError, WeightsError, one_line, read_document, require_checkpoint_file
from model.finite_weights import require_finite
from model.safetensors_header import require_small_header
from model.sam.pixels import Pixels
from model.sam.session import Sam2Session, Sam3Session
from model.sam.trial import require_consistent
from model.sam.untrusted_config import require_harmless, require_weights
from model.sam.usable_config import require_usable

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PROCESSORS = ("processor_config.json", "video_preprocessor_config.json", "preprocessor_config.json")
# Steps of a processor -> values that describe what `Pixels` does. None: the processor's own default.
STEPS = {
    "do_resize": (None, True),
    "do_rescale": (None, True),
    "do_normalize": (None, True),
    "do_center_crop": (None, False),
    "do_pad": (None, False),
    "resample": (None, 2, "bilinear"),
    "rescale_factor": (None, 1 / 255),
}
ADAPTER = "adapter_config.json"  # transformers would load it on top, from wherever it says
LISTED = 5  # names of tensors in a message
DTYPES = ("F64", "F32", "F16", "BF16")  # of weights, as safetensors names them
MAX_INDEX_BYTES = 2**24
_SHARD = re.compile(r"\w[\w.-]*\.safetensors")


@dataclass(frozen=True)
class Tracker:
    """A kind of model that follows a mask through a video."""

    model: type
    session: type
    mean: tuple[float, ...]
    std: tuple[float, ...]


class ConceptModel(Sam3VideoModel):
    """`Sam3VideoModel` that reports unexpected tensors, of which each of its parts ignores those of the others."""

    def post_init(self) -> None:
        """Set nothing to be ignored."""
        super().post_init()
        self._keys_to_ignore_on_load_unexpected = set()


TRACKERS = {
    "sam2_video": Tracker(Sam2VideoModel, Sam2Session, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "sam3_video": Tracker(Sam3TrackerVideoModel, Sam3Session, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def read_config(folder: Path) -> PreTrainedConfig:
    """Read config.json. Raises CheckpointError if it is not that of one of TRACKERS."""
    values = read_document(folder / CONFIG)
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what does not fit is an error here, with the names
    try:
        if values["model_type"] not in TRACKERS:
            raise ValueError(f"its model_type is none of {', '.join(TRACKERS)}")
        require_harmless(values)
        require_usable(values)
    except Exception as error:
        raise CheckpointError(f"{folder / CONFIG}: not the config of a SAM model: {one_line(error)}") from None
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers checks values by many kinds of exceptions
        reason = f"{AGAIN} ({one_line(error)})"
        raise CheckpointError(f"{folder / CONFIG}: not the config of a SAM model; {reason}") from None


def tracker_config(config: PreTrainedConfig) -> Any:
    """Return the part of a config that describes the tracker."""
    return getattr(config, "tracker_config", config)


def weight_files(folder: Path) -> list[Path]:
    """Return the files with weights. Raises CheckpointError if one is missing or damaged."""
    files = [folder / WEIGHTS]
    if not files[0].is_file():
        if not (folder / INDEX).is_file():
            raise CheckpointError(
                f"{files[0]}: file not found; only safetensors are read. Download the folder of a model that "
                "transformers supports, such as facebook/sam2.1-hiera-large or facebook/sam3; facebook/sam3.1 has no "
                "such weights"
            )
        files = [folder / INDEX, *(folder / name for name in _shards(folder / INDEX))]
    for path in files:
        require_checkpoint_file(path)
        try:
            if path.suffix == ".safetensors":
                require_small_header(path)
                with safe_open(path, "pt"):
                    pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: damaged or incomplete; download it again ({error})") from None
    return files


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index names. Raises CheckpointError if one is not beside the index."""
    values = read_document(index, MAX_INDEX_BYTES)
    names = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(names, dict) or not names:
        raise CheckpointError(f"{index}: it has no weight_map with the names of files; download it again")
    if odd := [name for name in names.values() if not isinstance(name, str) or not _SHARD.fullmatch(name)]:
        raise CheckpointError(f"{index}: {odd[0]!a} is not the name of a file of safetensors beside it")
    return sorted(set(names.values()))


def read_pixels(folder: Path, config: PreTrainedConfig) -> Pixels:
    """Return the size and normalisation of the model's input. Raises CheckpointError if the files contradict it."""
    tracker, size = TRACKERS[config.model_type], tracker_config(config).image_size
    path, values = _processor(folder)
    try:
        height, width = size if isinstance(size, list | tuple) else (size, size)
        found = values.get("size") or {"height": height, "width": width}
        mean, std = _numbers(values.get("image_mean", tracker.mean)), _numbers(values.get("image_std", tracker.std))
        sizes = {height, width, found["height"], found["width"]}
        if len(sizes) > 1 or len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"size {found}, image_mean {mean} and image_std {std} do not fit a model of {size} pixels")
        if odd := [f"{name} {values[name]!a}" for name, usual in STEPS.items() if values.get(name) not in usual]:
            raise ValueError(f"{', '.join(odd)}: frames are resized bilinearly, scaled to 0..1 and normalised")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{path}: not the processor of this model: {error}") from None
    return Pixels(height, mean, std)


def _numbers(values: Any) -> tuple[float, ...]:
    """Return a list of finite numbers as a tuple. Raises ValueError or TypeError."""
    if not isinstance(values, list | tuple) or not all(math.isfinite(number) for number in values):
        raise ValueError(f"{values!a} is not a list of numbers")
    return tuple(map(float, values))


def _processor(folder: Path) -> tuple[Path, dict]:
    """Return the first file that has a mean, and the part of it with the mean; else config.json and nothing."""
    for path in (folder / name for name in PROCESSORS):
        values = read_document(path) if os.path.lexists(path) else {}
        if not isinstance(values, dict):
            raise CheckpointError(f"{path}: it must hold an object; {AGAIN}")
        parts = [values, *(values.get(name) for name in ("video_processor", "image_processor"))] if values else []
        for part in parts:
            if isinstance(part, dict) and "image_mean" in part:
                return path, part
    return folder / CONFIG, {}


def folder_digest(folder: Path, more: Sequence[str] = ()) -> str:
    """Return the sha256, in hex, over all files of a folder that decide the masks; `more`: names of other ones."""
    files = [folder / CONFIG, *weight_files(folder), *(folder / name for name in (*PROCESSORS, *more))]
    total = hashlib.sha256()
    for path in files:
        if path.is_file():
            with path.open("rb") as file:
                total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def load_model(folder: Path, config: PreTrainedConfig, kind: Any = None) -> PreTrainedModel:
    """Load the model on the CPU in float32: the tracker, or another `kind`.

    Raises CheckpointError with the tensors that do not fit.
    """
    return _load(folder, config, kind or TRACKERS[config.model_type].model, None)


def require_model(folder: Path, config: PreTrainedConfig, side: int, kind: Any = None) -> None:
    """Check that `load_model` works, its model for frames of `side` pixels, and all weights are finite.

    Nothing but single tensors is read into memory. Raises CheckpointError.
    """
    kind = kind or TRACKERS[config.model_type].model
    _load(folder, config, kind, _without_values(folder))
    try:
        require_consistent(kind, config if kind is ConceptModel else tracker_config(config), side)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    require_finite(path for path in weight_files(folder) if path.suffix == ".safetensors")


def _without_values(folder: Path) -> dict[str, Tensor]:
    """Return tensors with the names and shapes of those in a folder, each a single number in memory."""
    found = {}
    for path in weight_files(folder):
        if path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            for name, part in slices.items():
                if (kind := part.get_dtype()) not in DTYPES:
                    raise WeightsError(f"{path}: weights must be {', '.join(DTYPES)}, but {name} is {kind}; {AGAIN}")
            found |= {name: torch.zeros(()).expand(part.get_shape()) for name, part in slices.items()}
    return found


def _load(folder: Path, config: PreTrainedConfig, kind: Any, weights: dict[str, Tensor] | None) -> PreTrainedModel:
    """Load a model from its folder, or from `weights` that stand for those of the folder. Raises CheckpointError."""
    size = sum(path.stat().st_size for path in weight_files(folder))
    if (folder / ADAPTER).exists():
        raise CheckpointError(
            f"{folder / ADAPTER}: adapters are not supported; merge it into the weights, or remove it"
        )
    try:
        require_weights(TRACKERS[config.model_type].model, tracker_config(config), size)
        model, found = kind.from_pretrained(
            folder if weights is None else None,
            config=None if weights is None else config,
            state_dict=weights,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    except Exception as error:  # of transformers, of many kinds
        reason = one_line(error)
        raise CheckpointError(
            f"{folder}: {CONFIG} describes a model that cannot be built with these weights; {AGAIN} "
            f"({type(error).__name__}: {reason})"
        ) from None
    faults = []
    for fault in ("missing", "unexpected", "mismatched"):
        if names := sorted(map(_tensor, found[f"{fault}_keys"])):
            more = ", ..." if len(names) > LISTED else ""
            tensors = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
            faults.append(f"{tensors} {fault} ({', '.join(names[:LISTED])}{more})")
    if faults:
        raise WeightsError(f"{folder}: the weights do not fit the config: {'; '.join(faults)}; {AGAIN}")
    return model


def _tensor(found: str | tuple) -> str:
    """Return the name of a tensor; of one whose shape differs, with both shapes."""
    if isinstance(found, str):
        return found
    name, here, wanted = found
    return f"{name}: {list(here)}, not {list(wanted)}"
