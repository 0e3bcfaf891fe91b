"""The state that a training resumes from: weights, moments of AdamW, and progress, in one file.

It needs no state of a random generator: the random choices of a step depend on the seed and the step number only.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.referformer.network.referformer import ReferFormer
from pipeline.io import storage
from pipeline.io.private_folder import private_folder
from schemas.errors import InputError

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
        with storage.local_file(uri) as path, safe_open(path, "pt") as file:
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
        scaler.load_state_dict(json.loads(document["scaler"]))
        return TrainingProgress(**json.loads(document["progress"]))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{uri} is not the state of this training ({error}); train again with another --out") from None


def put_file(path: str | Path, uri: str) -> None:
    """Copy a local file to `uri`, atomically."""
    with storage.spool(uri) as spooled:
        shutil.copyfile(path, spooled)
        storage.commit(spooled, uri, replace=True)


def _weights(model: ReferFormer) -> dict[str, Tensor]:
    """Return parameters and floating-point buffers by name."""
    buffers = {name: x for name, x in model.named_buffers() if x.is_floating_point()}
    return dict(model.named_parameters()) | buffers
