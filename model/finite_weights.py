"""Refuse weights that hold NaN or infinity: with them every pair of a corpus would fail, one by one."""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import safe_open

from model.errors import WeightsError

LISTED = 5  # names of tensors in a message


def require_finite(files: Iterable[Path]) -> None:
    """Read safetensors files tensor by tensor. Raises WeightsError with the names of tensors that are not finite."""
    for path in files:
        with safe_open(path, "pt") as file:
            names = sorted(name for name in file.keys() if not _is_finite(file.get_tensor(name)))  # noqa: SIM118 - not a dict
        if names:
            tensors = "1 tensor holds" if len(names) == 1 else f"{len(names)} tensors hold"
            more = ", ..." if len(names) > LISTED else ""
            raise WeightsError(
                f"{path}: {tensors} NaN or infinity ({', '.join(names[:LISTED])}{more}): the file is damaged, or "
                "training failed; download or convert the checkpoint again, or take another one"
            )


def _is_finite(tensor: torch.Tensor) -> bool:
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    return bool(torch.stack(torch.aminmax(tensor)).isfinite().all())  # NaN is both; nothing is copied
