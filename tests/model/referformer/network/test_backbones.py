"""A backbone is one module and one line in BACKBONES: here one from outside, through a whole forward pass."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import ClassVar

import pytest
import torch
from torch import nn

from model.referformer.checks import require_positive
from model.referformer.config import ReferFormerConfig
from model.referformer.network.backbones import BACKBONES
from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch


@dataclass(frozen=True, kw_only=True)
class PatchworkConfig:
    kind: ClassVar[str] = "patchwork"
    temporal: ClassVar[bool] = False
    stride: ClassVar[int] = 4

    width: int = 8

    def __post_init__(self):
        require_positive(self)

    @property
    def channels(self):
        return (self.width,) * 4


class Patchwork(nn.Module):
    """One strided convolution per map."""

    config_type = PatchworkConfig

    def __init__(self, config):
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3, config.width, stride, stride=stride) for stride in (4, 8, 16, 32))

    def forward(self, frames):
        return [convolution(frames.flatten(0, 1)) for convolution in self.maps]


@pytest.fixture
def registered(monkeypatch):
    module = ModuleType("patchwork")
    module.Patchwork = Patchwork
    monkeypatch.setitem(sys.modules, "patchwork", module)
    monkeypatch.setitem(BACKBONES, "patchwork", "patchwork:Patchwork")


def test_a_backbone_from_outside(registered, tiny_config):
    config = replace(tiny_config(), backbone=PatchworkConfig(width=6))
    values = json.loads(json.dumps(config.to_dict()))
    assert values["backbone"] == {"type": "patchwork", "width": 6}
    assert ReferFormerConfig.from_dict(values) == config
    model = ReferFormer(config).eval()
    words = TokenBatch(torch.tensor([[0, 9, 2]]), torch.ones(1, 3, dtype=torch.bool))
    frames = torch.rand(1, 3, 3, 64, 96)
    with torch.inference_mode():
        whole = model(frames, words)
        model.frames_at_once = 1
        one_by_one = model(frames, words)
    assert whole.masks.shape == (1, 3, 3, 16, 24)
    torch.testing.assert_close(one_by_one.masks, whole.masks, atol=1e-4, rtol=1e-4)


def test_its_config_is_checked(registered):
    with pytest.raises(ValueError, match=r"config\.backbone: unknown depth; choose from width"):
        ReferFormerConfig.from_dict({"backbone": {"type": "patchwork", "depth": 2}})
    with pytest.raises(ValueError, match="width must be at least 1"):
        ReferFormerConfig.from_dict({"backbone": {"type": "patchwork", "width": 0}})


def test_the_registry_imports_no_torch():
    code = "import sys, model.referformer.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
