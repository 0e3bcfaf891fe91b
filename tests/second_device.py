"""A device that no machine lacks: its tensors lie in host memory, and mixing them with host tensors is an error.

It stands for a GPU where there is none. What a GPU refuses, this device refuses: an operation on tensors of two
devices, and numpy views of its tensors. Answers are those of the CPU, bit by bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "second"
HOST = torch.device("cpu")
aten = torch.ops.aten
# A GPU takes these with tensors of two devices: copies, and indices in host memory.
MIXED = {aten._to_copy.default, aten.copy_.default, aten.index.Tensor, aten.index_put_.default}


class Module(_DummyBackendModule):
    """What torch asks a device for."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


class SecondTensor(Tensor):
    """A tensor of the device; `values` holds the same numbers in host memory."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> "SecondTensor":
        with torch.inference_mode(False):
            return Tensor._make_wrapper_subclass(
                cls,
                values.size(),
                strides=values.stride(),
                storage_offset=values.storage_offset(),
                dtype=values.dtype,
                device=torch.device(NAME, 0),
            )

    def __init__(self, values: Tensor) -> None:
        self.values = values

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Within, the device can be used."""
    with _Dispatch(), _Factories():
        yield torch.device(NAME)


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Factories(TorchFunctionMode):
    """`torch.tensor` looks for the device behind Python's back: build on the host, then copy."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.tensor and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        return func(*args, **kwargs)


def _run(func: Any, args: tuple, kwargs: dict) -> Any:
    """Run an operation on the values, and return tensors of the device that it belongs to."""
    if func is aten._has_compatible_shallow_copy_type.default:
        return False
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    here = any(isinstance(x, SecondTensor) for x in tensors)
    strangers = [tuple(x.shape) for x in tensors if not isinstance(x, SecondTensor) and x.dim()]
    if here and strangers and func not in MIXED:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, but {strangers} are on the host")
    wanted = kwargs.get("device")
    goes = here if wanted is None else torch.device(wanted).type == NAME
    values, options = tree_map(_on_host, (args, kwargs))
    found = func(*values, **options)
    if func._schema.is_mutable and isinstance(found, Tensor):
        return args[0]
    if func is aten._to_copy.default and not goes:
        return found.clone()
    if not goes:
        return found
    return tree_map(lambda x: SecondTensor(x) if isinstance(x, Tensor) else x, found)


def _on_host(value: Any) -> Any:
    if isinstance(value, SecondTensor):
        return value.values
    return HOST if isinstance(value, torch.device) else value


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _on_host(target).copy_(_on_host(source))
    return target


def _empty_strided(size: list[int], stride: list[int], *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return SecondTensor(torch.empty_strided(size, stride, dtype=dtype))


_setup_privateuseone_for_python_backend(NAME, Module())
_library = torch.library.Library("aten", "IMPL")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
_library.impl("empty_strided", _empty_strided, "PrivateUse1")
