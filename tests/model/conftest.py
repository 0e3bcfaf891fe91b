"""Fixtures of the model's tests: the parity helper, filled models, and a model of a few thousand parameters."""

import importlib.util
import json
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from types import ModuleType

import pytest
import torch

from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer

torch.set_num_threads(1)  # tiny tensors: a second thread on a busy machine costs more than it gives

TINY_BACKBONES = {
    "resnet": ResNetConfig(depths=(1, 1, 2, 1), widths=(4, 4, 8, 8)),
    "swin": SwinConfig(embed_dim=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=4, patch=2),
    "video_swin": VideoSwinConfig(embed_dim=8, depths=(2, 1, 1, 1), heads=(1, 2, 2, 4), window=(2, 3, 4)),
}


def _tiny_config(backbone: str = "resnet", **changes) -> ReferFormerConfig:
    config = ReferFormerConfig(
        backbone=TINY_BACKBONES[backbone],
        text=TextConfig(
            vocab_size=300, hidden_size=20, layers=1, heads=2, intermediate_size=24, max_positions=66, dropout=0.0
        ),
        hidden_dim=24,
        heads=3,
        feedforward_dim=40,
        encoder_layers=1,
        decoder_layers=2,
        encoder_points=2,
        decoder_points=3,
        queries=3,
        mask_dim=12,
        mask_channels=5,
        projection_groups=6,
        pixel_groups=4,
        dropout=0.0,
    )
    return replace(config, **changes)


@pytest.fixture(scope="session")
def tiny_config():
    """tiny_config(kind of backbone, **changes) -> a config whose sizes all differ from the published ones."""
    return _tiny_config


@cache
def _parity() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refervos_parity", Path(__file__).parents[1] / "parity.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def parity() -> ModuleType:
    """tests/parity.py: fill rule, recordings, comparison."""
    return _parity()


@pytest.fixture(scope="session")
def filled_model():
    """filled_model(backbone, num_classes, queries, salt) -> a published model, filled by name, in eval mode.

    Only the last one is kept, and what it shares with the next (all but the backbone, mostly) is taken over.
    """
    taken: dict[tuple, torch.Tensor] = {}

    @lru_cache(maxsize=1)
    def build(backbone: str, num_classes: int, queries: int, salt: str) -> ReferFormer:
        config = replace(ReferFormerConfig.published(backbone), num_classes=num_classes, queries=queries)
        model = ReferFormer(config).eval().requires_grad_(False)
        state = {}
        for name, tensor in model.state_dict().items():
            key = (name, tuple(tensor.shape), salt)
            if not tensor.is_floating_point():
                state[name] = tensor
            else:
                state[name] = taken[key] if key in taken else torch.from_numpy(_parity().fill(*key))
        taken.clear()
        taken.update({(name, tuple(x.shape), salt): x for name, x in state.items() if not name.startswith("backbone")})
        model.load_state_dict(state, assign=True)
        return model

    return build


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Recordings by kind: forward, post-processing, transform, keys, and of training losses and steps."""
    kinds = {"forward_case": "token_ids", "postprocess_case": "ytvos", "transform_case": "size_table"}
    for argument in set(metafunc.fixturenames) & {*kinds, "keys_file", "loss_case", "step_case"}:
        parity = _parity()
        if argument == "keys_file":
            paths = sorted((parity.folder() / "keys").glob("*.json"))
        elif argument in ("loss_case", "step_case"):
            paths = sorted((parity.folder() / "training" / "cases").glob("*.json"))
            paths = [path for path in paths if _info(path).get("kind") == argument.removesuffix("_case")]
        else:
            paths = [p for p in sorted((parity.folder() / "cases").glob("*.json")) if _has(p, kinds[argument])]
            paths.sort(key=lambda path: [str(_info(path).get(key)) for key in ("salt", "backbone")])
        metafunc.parametrize(argument, paths, ids=[path.stem for path in paths], scope="session")


@cache
def _info(path: Path) -> dict:
    return json.loads(path.read_text())


def _has(path: Path, key: str) -> bool:
    return key in _info(path)
