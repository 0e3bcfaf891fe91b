"""The state that a training resumes from: weights, moments of AdamW, and progress, in one file.

It needs no state of a random generator: the random choices of a step depend on the seed and the step number only.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.errors import CheckpointError
from model.referformer.network.referformer import ReferFormer
from model.safetensors_header import require_small_header
from pipeline.io import storage
from pipeline.io.local_copy import local_file
from pipeline.io.private_folder import private_folder
from schemas.errors import InputError
from schemas.json_fields import known_fields
from schemas.json_text import parse_object

MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # of each parameter in AdamW


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingProgress:
    """Progress of a training."""

    epoch: int = 0
    batches: int = 0  # done in this epoch, by all processes together
    step: int = 0  # optimizer steps in all epochs


def save_state(
    uri: str, model: ReferFormer, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler, progress: TrainingProgress
) -> None:
    """Write or replace the state at `uri`, atomically."""
    tensors = {f"model.{name}": tensor for name, tensor in _weights(model).items()}
    for name, parameter in model.named_parameters():
        for kind, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{kind}.{name}"] = value
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    document = {"progress": json.dumps(asdict(progress)), "scaler": json.dumps(scaler.state_dict())}
    with private_folder() as folder:
        path = f"{folder}/state.safetensors"
        save_file(tensors, path, metadata=document)
        put_file(path, uri)


def load_state(
    uri: str, model: ReferFormer, optimizer: torch.optim.AdamW, scaler: torch.amp.GradScaler
) -> TrainingProgress:
    """Load the state at `uri`, if it exists, and return the progress.

    Raises InputError if the state is damaged or belongs to another training.
    """
    if not storage.exists(uri):
        return TrainingProgress()
    try:
        with local_file(uri) as path:
            require_small_header(Path(path))
            with safe_open(path, "pt") as file:
                _require_same_tensors(file, model)
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
                document = file.metadata()
        with torch.no_grad():
            for name, tensor in _weights(model).items():
                tensor.copy_(found[f"model.{name}"])
        for name, parameter in model.named_parameters():
            if f"step.{name}" in found:
                moments = {kind: found[f"{kind}.{name}"] for kind in MOMENTS}
                optimizer.state[parameter] = {"step": moments.pop("step")} | {
                    kind: value.to(parameter.device) for kind, value in moments.items()
                }
        scales = parse_object(document["scaler"])
        if not all(type(value) in (int, float) for value in scales.values()):
            raise ValueError("its scale is not a number")
        scaler.load_state_dict(scales)
        progress = TrainingProgress(**known_fields(TrainingProgress, parse_object(document["progress"])))
        if min(asdict(progress).values()) < 0:
            raise ValueError("its progress is below 0")
        return progress
    except (SafetensorError, CheckpointError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{uri} is not the state of this training ({error}); train again with another --out") from None


def _require_same_tensors(file: Any, model: ReferFormer) -> None:
    """Raise ValueError unless the tensors of an open state have names and shapes of this model, before memory is taken.

    Copying would spread a single number over a whole tensor.
    """
    wanted = {f"model.{name}": list(tensor.shape) for name, tensor in _weights(model).items()}
    shapes = {name: list(parameter.shape) for name, parameter in model.named_parameters()}
    wanted |= {f"{kind}.{name}": [] if kind == "step" else shape for name, shape in shapes.items() for kind in MOMENTS}
    for name in file.keys():  # noqa: SIM118 - not a mapping
        if (shape := file.get_slice(name).get_shape()) != wanted.get(name):
            raise ValueError(f"{name!r:.200} has the shape {shape!r:.100}")


def put_file(path: str | Path, uri: str) -> None:
    """Copy a local file to `uri`, atomically."""
    with storage.spool(uri) as spooled:
        shutil.copyfile(path, spooled)
        storage.commit(spooled, uri, replace=True)


def _weights(model: ReferFormer) -> dict[str, Tensor]:
    """Return parameters and floating-point buffers by name."""
    buffers = {name: x for name, x in model.named_buffers() if x.is_floating_point()}
    return dict(model.named_parameters()) | buffers
