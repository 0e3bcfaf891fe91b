"""Read and write checkpoint folders. Loading is strict: every tensor of the model in its shape, and no other.

A checkpoint is one local folder with everything that a model needs to run:

    config.json                 ReferFormerConfig
    model.safetensors           each floating-point tensor of the state dict once, float32 or float16
    tokenizer.json              or vocab.json with merges.txt
    preprocessor_config.json    optional: {"size": {"shortest_edge": 96}}, default size of the model's input
"""

import hashlib
import json
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from model.errors import CheckpointError, read_document, require_checkpoint_file
from model.input_size import MAX_SHORT_SIDE
from model.referformer.config import ReferFormerConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.pth import read_pth
from model.referformer.tokenizer import load_tokenizer, tokenizer_files
from model.safetensors_header import require_small_header

CONFIG, WEIGHTS, PREPROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"
MAX_LISTED = 1000  # problems in a message
PUBLISHED_SHORT_SIDE = 360

# The published names are the model's own. The box heads are stored under two names; the first one is dropped.
RENAMED = {"transformer.decoder.bbox_embed.": "bbox_embed."}
# Endings of names that no forward pass reads: those of a FLOP counter, and constants of other text encoders.
UNUSED = ("total_params", "total_ops", "embeddings.position_ids", "embeddings.token_type_ids")
# model_type of a folder that holds a part of a model -> the option that takes it.
PARTS = {"resnet": "--backbone-weights", "swin": "--backbone-weights", "roberta": "--text-weights"}


@dataclass(frozen=True)
class PublishedWeights:
    """Floating-point tensors of a published file by name, and the names in the file that were passed over."""

    state: dict[str, Tensor]
    tolerated: dict[str, list[str]]  # noun phrase -> names in the file


def load_published(path: str | Path, config: ReferFormerConfig) -> PublishedWeights:
    """Read a published `.pth` file for the model of `config`: `read_pth`, then `fit_published`."""
    return fit_published(read_pth(path), config, path)


def fit_published(found: Mapping[str, Tensor], config: ReferFormerConfig, path: str | Path) -> PublishedWeights:
    """Return the tensors of a published file, as far as the model of `config` needs them. `path` is for messages.

    Tolerates integer tables equal to the model's own (`relative_position_index`; they may be absent too), the second
    names of the box heads, and names that nothing reads. Raises CheckpointError with a list of the names that are
    missing, unknown, of another shape or not floating-point.
    """
    model = model_without_values(config)
    tables = _integer_buffers(model)
    state: dict[str, Tensor] = {}
    tolerated: dict[str, list[str]] = defaultdict(list)
    for name, tensor in found.items():
        saved = _saved_name(name)
        if name.endswith(UNUSED):
            tolerated["tensors that no model reads"].append(name)
        elif name in tables and _equal(tensor, tables[name]):
            tolerated["index tables, equal to the computed ones"].append(name)
        elif saved != name and saved in found and tensor.shape == found[saved].shape:
            same = _equal(tensor, found[saved])
            tolerated["second names of the same tensor" if same else "second names with OTHER values, not used"].append(
                name
            )
        else:  # a name that does not fit stays, so that the check below lists it
            state[saved if saved not in found else name] = tensor
    _require_fit(state, model, path)
    return PublishedWeights(state, dict(tolerated))


def save_checkpoint(
    folder: str | Path,
    config: ReferFormerConfig,
    state: Mapping[str, Tensor],
    tokenizer_dir: str | Path,
    short_side: int | None = None,
) -> None:
    """Write a checkpoint folder, whole or not at all.

    state: state dict of the model, written in its dtypes. short_side: default size of the model's input in pixels;
    None writes no default. Raises CheckpointError if `folder` is not empty or the tokenizer does not fit, OSError if
    writing fails.
    """
    folder = Path(folder).resolve()
    require_new_folder(folder)
    tokenizer = load_tokenizer(tokenizer_dir, config.text.vocab_size)
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    part.mkdir(parents=True)
    try:
        weights = {name: tensor.detach().contiguous() for name, tensor in _saved_tensors(state).items()}
        save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
        (part / WEIGHTS).chmod(0o644)  # safetensors makes it readable to its owner alone
        documents = {CONFIG: config.to_dict()}
        if short_side is not None:
            documents[PREPROCESSOR] = {"size": {"shortest_edge": short_side}}
        for name, values in documents.items():
            (part / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        tokenizer.save(part)
        part.rename(folder)
    except SafetensorError as error:
        raise OSError(f"{folder}: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load_model(folder: str | Path) -> ReferFormer:
    """Load the model on the CPU, in float32 and evaluation mode. Raises CheckpointError.

    Weights in float32 stay mapped to their file, so that the processes of a machine share the memory.
    """
    model = model_without_values(read_config(folder)).eval()
    found = require_weights(folder, model)
    weights = {name: found[name].float() for name in _saved_tensors(model.state_dict())}
    model.load_state_dict(weights, strict=False, assign=True)  # `strict` would ask for the tables too
    return model


class _WithoutValues(TorchFunctionMode):
    """Skips what sets parameters, as modules do while they are built."""

    def __torch_function__(self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None):
        target = args[0] if args else (kwargs or {}).get("tensor")
        if isinstance(target, nn.Parameter) and func.__name__.endswith("_") and not func.__name__.endswith("__"):
            return target
        return func(*args, **(kwargs or {}))


def model_without_values(config: ReferFormerConfig) -> ReferFormer:
    """Build a model whose parameters hold no values and take no memory yet; its tables are there.

    Random values take seconds, and so does the meta device, on which torch imports its compiler to compute them.
    """
    with _WithoutValues():
        return ReferFormer(config)


def read_config(folder: str | Path) -> ReferFormerConfig:
    """Read config.json. Raises CheckpointError."""
    path = Path(folder) / CONFIG
    values = read_document(path)
    named = isinstance(values, dict) and values.pop("model_type", None)  # names the family
    if named in PARTS:
        raise CheckpointError(
            f"{path}: a model of the type {named!r} of transformers, which is a part of a ReferFormer; 'rvos train' "
            f"starts from it with {PARTS[named]}"
        )
    try:
        return ReferFormerConfig.from_dict(values)
    except (ValueError, TypeError) as error:
        why = "" if named else "; without a model_type, a folder is taken for one of ReferFormer"
        raise CheckpointError(f"{path}: not the config of a ReferFormer: {error}{why}") from None


def read_short_side(folder: str | Path) -> int:
    """Read the default size of the model's input: pixels of the shorter side, 360 without preprocessor_config.json.

    Raises CheckpointError.
    """
    path = Path(folder) / PREPROCESSOR
    if not os.path.lexists(path):  # a pipe or a dead link is an error, not a reason for another size
        return PUBLISHED_SHORT_SIDE
    try:
        short_side = read_document(path)["size"]["shortest_edge"]
        if type(short_side) is not int or not 1 <= short_side <= MAX_SHORT_SIDE:
            raise ValueError(f"shortest_edge is {short_side!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f'{path}: expected {{"size": {{"shortest_edge": N}}}} with 1 <= N <= {MAX_SHORT_SIDE} ({error})'
        ) from None
    return short_side


def require_weights(folder: str | Path, model: nn.Module) -> dict[str, Tensor]:
    """Return the memory-mapped tensors of a checkpoint by name. Raises CheckpointError if they do not fit `model`."""
    path = Path(folder) / WEIGHTS
    require_checkpoint_file(path)
    try:
        require_small_header(path)
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or incomplete; convert the checkpoint again ({error})") from None
    _require_fit(found, model, folder)
    return found


def weights_digest(folder: str | Path) -> str:
    """Return the sha256, in hex, over all files of a checkpoint folder that decide its masks.

    The default size of the input is not part of it: a run's fingerprint holds the size that it used.
    """
    files = [Path(folder) / CONFIG, Path(folder) / WEIGHTS]
    for path in files:
        require_checkpoint_file(path)
    total = hashlib.sha256()
    for path in (*files, *tokenizer_files(Path(folder))):
        with path.open("rb") as file:
            total.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def require_new_folder(folder: Path) -> None:
    """Raise CheckpointError if writing a checkpoint to `folder` would replace or mix with other files."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder} already exists; choose a new folder, or remove it first")


def _saved_name(name: str) -> str:
    """Return the name under which the model saves a tensor."""
    for second, first in RENAMED.items():
        if name.startswith(second):
            return first + name.removeprefix(second)
    return name


def _saved_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select what a checkpoint holds of a state dict: each floating-point tensor, once."""
    return {name: x for name, x in state.items() if x.is_floating_point() and _saved_name(name) == name}


def _integer_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that follow from the config, with those that a state dict leaves out."""
    return {name: buffer for name, buffer in model.named_buffers() if not buffer.is_floating_point()}


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def _require_fit(found: Mapping[str, Tensor], model: nn.Module, source: str | Path) -> None:
    expected, tables = _saved_tensors(model.state_dict()), _integer_buffers(model)
    problems = [f"missing: {name} {list(tensor.shape)}" for name, tensor in expected.items() if name not in found]
    for name, tensor in found.items():
        own = expected.get(_saved_name(name))
        if name in tables:
            problems.append(f"other values: {name}, a table that follows from the config")
        elif own is None:
            problems.append(f"unknown: {name} {list(tensor.shape)}")
        elif tensor.shape != own.shape:
            problems.append(f"shape: {name} is {list(tensor.shape)}, the model has {list(own.shape)}")
        elif not tensor.is_floating_point():
            problems.append(f"type: {name} is {tensor.dtype}, not floating-point")
    if problems:
        more = [f"and {len(problems) - MAX_LISTED} more"] if len(problems) > MAX_LISTED else []
        listing = "\n  ".join([*problems[:MAX_LISTED], *more])
        raise CheckpointError(
            f"{source} does not hold this model:\n  {listing}\n{len(problems)} names do not fit; "
            "check that the backbone is the one that it was trained with"
        )
