"""Weights with NaN or infinity are refused by name, for every family, before anything starts."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.bundled import FOLDER
from model.errors import WeightsError
from model.families import check_checkpoint, check_refiner
from model.finite_weights import require_finite
from tests.tiny_sam import write_sam2, write_sam3

FAMILIES = [
    (lambda folder: shutil.copytree(FOLDER, folder / "model"), check_checkpoint),
    (write_sam2, check_refiner),
    (write_sam3, check_refiner),
    (write_sam3, check_checkpoint),
]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("write", "check"), FAMILIES)
def test_one_number_in_one_tensor_is_found(tmp_path, write, check, value):
    folder = Path(write(tmp_path))
    check(folder)
    weights = load_file(folder / "model.safetensors")
    name = sorted(name for name in weights if weights[name].is_floating_point() and weights[name].ndim > 1)[-1]
    weights[name].view(-1)[-1] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=f"1 tensor holds NaN or infinity .{name}.*download or convert"):
        check(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_type_of_numbers(tmp_path, dtype):
    sound = {"a": torch.full((3, 2), torch.finfo(dtype).max, dtype=dtype), "empty": torch.zeros(0, dtype=dtype)}
    path = tmp_path / "model.safetensors"
    save_file(sound | {"numbers": torch.arange(3)}, path)
    require_finite([path])
    broken = {str(i): torch.full((2,), float("nan"), dtype=dtype) for i in range(7)}
    save_file(sound | broken, path)
    with pytest.raises(WeightsError, match=r"7 tensors hold NaN or infinity \(0, 1, 2, 3, 4, \.\.\.\)"):
        require_finite([path])
