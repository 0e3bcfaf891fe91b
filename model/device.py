"""The device of a model."""

import torch


def find_device(name: str) -> torch.device:
    """Return the device for an option "auto" (CUDA if torch finds it), "cpu" or "cuda".

    Raises ValueError for another name, and for CUDA without a GPU.
    """
    if name.partition(":")[0] not in ("auto", "cpu", "cuda"):
        raise ValueError(f'unknown device {name!r}; choose from "auto", "cpu" and "cuda"')
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f'torch finds no CUDA device for device "{name}"; use "cpu" or "auto"')
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
