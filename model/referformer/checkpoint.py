"""Weights on disk, and strictly: every tensor of the model must be there, in shape, and nothing else.

A checkpoint is one local folder, everything that a model needs to run:

    config.json         ReferFormerConfig
    model.safetensors   each floating-point tensor of the state dict once, float32 or float16
    tokenizer.json      or vocab.json with merges.txt
"""

import hashlib
import json
import shutil
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from model.errors import CheckpointError
from model.referformer.config import ReferFormerConfig
from model.referformer.inference.fast_modes import GuardedSegmenter
from model.referformer.inference.segmenter import Segmenter
from model.referformer.network.referformer import ReferFormer
from model.referformer.pth import read_pth
from model.referformer.tokenizer import Tokenizer, load_tokenizer, tokenizer_files

__all__ = [
    "CheckpointError",
    "Published",
    "check_checkpoint",
    "load_model",
    "load_published",
    "load_segmenter",
    "require_new_folder",
    "save_checkpoint",
    "weights_digest",
]

CONFIG, WEIGHTS = "config.json", "model.safetensors"

# Published names are the model's own. The box heads are stored under two names; these give way to the others.
RENAMED = {"transformer.decoder.bbox_embed.": "bbox_embed."}
# Endings of names that no forward pass reads: a FLOP counter's, and a buffer of older text encoders.
UNUSED = ("total_params", "total_ops", "embeddings.position_ids")


@dataclass(frozen=True)
class Published:
    """What a published file holds of a model: its floating-point tensors by name, and what was passed over."""

    state: dict[str, Tensor]
    tolerated: dict[str, list[str]]  # reason -> names in the file


def load_published(path: str | Path, config: ReferFormerConfig) -> Published:
    """Read a published `.pth` file for the model of `config`.

    Tolerated are integer tables equal to the model's own (`relative_position_index`; they may be absent too), the
    second names of the box heads, and names that nothing reads. Raises CheckpointError if the file cannot be read
    safely, or with a list of all names that are missing, unknown, of another shape or not floating-point.
    """
    model = ReferFormer(config)
    published = _in_own_names(read_pth(path), model)
    _require_fit(published.state, model, str(path))
    return published


def save_checkpoint(
    folder: str | Path, config: ReferFormerConfig, state: Mapping[str, Tensor], tokenizer_dir: str | Path
) -> None:
    """Write a checkpoint folder, whole or not at all. `state`: a state dict of the model, kept in its dtypes.

    Raises CheckpointError if `folder` holds something already or the tokenizer does not fit, OSError if writing fails.
    """
    folder = Path(folder).resolve()
    require_new_folder(folder)
    tokenizer = load_tokenizer(tokenizer_dir, config.text.vocab_size)
    weights = {
        name: tensor.detach().contiguous()
        for name, tensor in state.items()
        if tensor.is_floating_point() and _own_name(name) == name
    }
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True)
    try:
        save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
        (part / WEIGHTS).chmod(0o644)  # safetensors makes it readable to its owner alone
        (part / CONFIG).write_text(json.dumps(config.to_dict(), indent=2) + "\n", encoding="utf-8")
        tokenizer.save(part)
        part.rename(folder)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load_model(folder: str | Path) -> ReferFormer:
    """The model in a checkpoint folder, on the CPU, float32, in evaluation mode. CheckpointError if anything is off."""
    folder = Path(folder)
    model = ReferFormer(_read_config(folder)).eval()
    found = _read_weights(folder)
    _require_fit(found, model, str(folder))
    with torch.no_grad():
        for name, tensor in _own_tensors(model).items():
            tensor.copy_(found[name])
    return model


def load_segmenter(folder: str | Path, *, precision: str = "fp32", compiled: bool = False, **options: Any) -> Segmenter:
    """The model of a checkpoint folder with its tokenizer, ready to segment; `options` go to Segmenter.

    In another precision than fp32, or compiled, it is guarded: see GuardedSegmenter.
    """
    model = load_model(folder)
    tokenizer = load_tokenizer(folder, model.config.text.vocab_size)
    if compiled or precision != "fp32":
        return GuardedSegmenter(model, tokenizer, precision=precision, compiled=compiled, **options)
    return Segmenter(model, tokenizer, **options)


def check_checkpoint(folder: str | Path) -> Tokenizer:
    """The tokenizer, if all is well; refuses all that `load_segmenter` would, at a fraction of its time and memory.

    Raises CheckpointError.
    """
    folder = Path(folder)
    config = _read_config(folder)
    with torch.device("meta"):
        model = ReferFormer(config)
    _require_fit(_read_weights(folder), model, str(folder))
    return load_tokenizer(folder, config.text.vocab_size)


def weights_digest(folder: str | Path) -> str:
    """sha256, in hex, over all files of a checkpoint folder that decide its masks."""
    files = [Path(folder) / CONFIG, Path(folder) / WEIGHTS]
    for path in files:
        _require_file(path)
    total = hashlib.sha256()
    for path in (*files, *tokenizer_files(Path(folder))):
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def require_new_folder(folder: Path) -> None:
    """Raise CheckpointError if there is something at `folder` that writing a checkpoint would mix with or replace."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} exists already; give a new folder, or remove it first")


def _read_config(folder: Path) -> ReferFormerConfig:
    path = folder / CONFIG
    _require_file(path)
    try:
        return ReferFormerConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path}: not the config of a model: {error}") from None


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, mapped: they take no memory until they are used."""
    path = folder / WEIGHTS
    _require_file(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or incomplete; convert the checkpoint again ({error})") from None


def _require_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file; a checkpoint is a folder with config.json, model.safetensors and a tokenizer, "
            "as 'rvos convert' writes it"
        )


def _own_name(name: str) -> str:
    """The name that the model saves a tensor under."""
    for second, first in RENAMED.items():
        if name.startswith(second):
            return first + name.removeprefix(second)
    return name


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """What a checkpoint holds of the model: each floating-point entry of its state dict, once."""
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and _own_name(name) == name
    }


def _tables(model: nn.Module) -> dict[str, Tensor]:
    """Integer buffers, which follow from the config; those that a state dict leaves out as well."""
    return {name: buffer for name, buffer in model.named_buffers() if not buffer.is_floating_point()}


def _in_own_names(found: Mapping[str, Tensor], model: nn.Module) -> Published:
    """Set aside what is tolerated; whatever is off stays under its name, for `_require_fit` to tell."""
    tables = _tables(model)
    state: dict[str, Tensor] = {}
    tolerated: dict[str, list[str]] = defaultdict(list)
    for name, tensor in found.items():
        own = _own_name(name)
        if name.endswith(UNUSED):
            tolerated["that nothing reads"].append(name)
        elif name in tables and _equal(tensor, tables[name]):
            tolerated["index tables, the same as computed here"].append(name)
        elif own != name and own in found and tensor.shape == found[own].shape:
            same = _equal(tensor, found[own])
            reason = "second names of one tensor" if same else "second names with OTHER values, not used"
            tolerated[reason].append(name)
        else:
            state[own if own not in found else name] = tensor
    return Published(state, dict(tolerated))


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _require_fit(found: Mapping[str, Tensor], model: nn.Module, source: str) -> None:
    own, tables = _own_tensors(model), _tables(model)
    problems = [f"missing: {name} {list(tensor.shape)}" for name, tensor in own.items() if name not in found]
    for name, tensor in found.items():
        expected = own.get(_own_name(name))
        if name in tables:
            problems.append(f"other values: {name}, a table that follows from the config")
        elif expected is None:
            problems.append(f"unknown: {name} {list(tensor.shape)}")
        elif tensor.shape != expected.shape:
            problems.append(f"shape: {name} is {list(tensor.shape)}, the model has {list(expected.shape)}")
        elif not tensor.is_floating_point():
            problems.append(f"type: {name} is {tensor.dtype}, not floating-point")
    if problems:
        listing = "\n  ".join(problems)
        raise CheckpointError(
            f"{source} does not hold this model:\n  {listing}\n{len(problems)} names do not fit; "
            "check that the backbone is the one that it was trained with"
        )
