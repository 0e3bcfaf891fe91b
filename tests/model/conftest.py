"""Fixtures of the model's tests: the parity helper, filled models, and a model of a few thousand parameters."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from types import ModuleType

import pytest
import torch

from model.referformer.config import ReferFormerConfig, TextConfig
from model.referformer.network.backbones.resnet import ResNetConfig
from model.referformer.network.backbones.swin import SwinConfig
from model.referformer.network.backbones.video_swin import VideoSwinConfig
from model.referformer.network.referformer import ReferFormer
from tests import parity as recordings

torch.set_num_threads(1)  # tiny tensors: a second thread on a busy machine costs more than it gives

KINDS: dict[str, tuple[str, Callable[[dict], bool]]] = {  # of recordings, by argument of a test
    "keys_file": ("keys/*.json", bool),
    "forward_case": ("cases/*.json", lambda info: "token_ids" in info),
    "postprocess_case": ("cases/*.json", lambda info: "ytvos" in info),
    "transform_case": ("cases/*.json", lambda info: "size_table" in info),
    "loss_case": ("training/cases/*.json", lambda info: info.get("kind") == "loss"),
    "step_case": ("training/cases/*.json", lambda info: info.get("kind") == "step"),
}
LARGE = ("swin_b_p4w7", "swin_l_p4w7", "video_swin_b_p4w7")  # their weights alone take seconds to fill
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
def gpu() -> torch.device:
    """The GPU, which must be there: its tests run only where they are asked for (`-m gpu`)."""
    assert torch.cuda.is_available(), "these tests need a GPU that torch can use"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as an actor
    return torch.device("cuda")


@pytest.fixture(scope="session", params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request) -> torch.device:
    """The CPU and, in tests that `-m gpu` selects, the GPU."""
    return request.getfixturevalue("gpu") if request.param == "cuda" else torch.device("cpu")


@pytest.fixture(scope="session")
def tiny_config():
    """tiny_config(kind of backbone, **changes) -> a config whose sizes all differ from the published ones."""
    return _tiny_config


@pytest.fixture(scope="session")
def parity() -> ModuleType:
    """tests/parity.py: fill rule, recordings, comparison."""
    return recordings


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
                state[name] = taken[key] if key in taken else torch.from_numpy(recordings.fill(*key))
        taken.clear()
        taken.update({(name, tuple(x.shape), salt): x for name, x in state.items() if not name.startswith("backbone")})
        model.load_state_dict(state, assign=True)
        return model

    return build


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Recordings by kind: forward, post-processing, transform, keys, and of training losses and steps."""
    for argument in set(metafunc.fixturenames) & set(KINDS):
        slow = argument == "forward_case"
        cases = recordings.params(*KINDS[argument], lambda info, slow=slow: slow and info["backbone"] in LARGE)
        metafunc.parametrize(argument, cases, scope="session")
