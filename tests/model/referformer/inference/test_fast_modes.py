"""Reduced precision and compiled code, compared with plain float32 at the start."""

import numpy as np
import pytest
import torch

from model.bundled import FOLDER
from model.errors import FastModeError
from model.families import load_segmenter
from model.referformer.inference import fast_modes
from model.referformer.inference.fast_modes import GuardedSegmenter
from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.segmenter import Overlap, Segmenter, SegmenterStats
from tests.moving_shapes import MovingScene

SIZE = (96, 128)
SENTENCES = ["the red circle", "the blue square", "the shape on the left"]


@pytest.fixture(scope="module")
def frames():
    scene = MovingScene.random(np.random.default_rng(5), *SIZE, 3)
    return [scene.render(i)[0] for i in range(4)]


def load(**options) -> Segmenter:
    return load_segmenter(FOLDER, device="cpu", **options)


def masks(segmenter: Segmenter, frames) -> np.ndarray:
    prepared = [segmenter.prepare(frame) for frame in frames]
    return np.stack([answer.masks for answer in segmenter.segment(prepared, SIZE, SENTENCES)])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_gives_nearly_the_same_masks(precision, frames):
    plain, fast = load(), load(precision=precision)
    assert type(plain) is ReferFormerSegmenter
    assert plain.stats() == SegmenterStats()
    expected, found = masks(plain, frames), masks(fast, frames)
    different = (expected != found).sum() / (expected | found).sum()
    assert different < fast_modes.MAX_DIFFERENT
    assert fast.stats().parity == pytest.approx(different)
    assert fast.stats() == SegmenterStats()  # once is enough
    calls = []
    fast.model.transformer.register_forward_hook(lambda *_: calls.append(torch.is_autocast_enabled("cpu")))
    assert np.array_equal(masks(fast, frames), found)
    assert calls
    assert all(calls)  # none in float32
    fast.compare_again()
    masks(fast, frames)
    assert fast.stats().parity == pytest.approx(different)


def test_too_many_other_pixels_are_refused(frames, monkeypatch):
    fast = load(precision="bf16")
    masks(fast, frames)
    monkeypatch.setattr(fast_modes, "MAX_DIFFERENT", 1e-9)
    with pytest.raises(FastModeError, match=r"masks in bf16 differ from those in plain fp32 in \d"):
        fast.stats()


def test_what_overflows_is_refused(frames):
    fast = load(precision="fp16")
    with torch.no_grad():
        fast.model.pixel_decoder.mask_features.weight.mul_(1e9)
    masks(fast, frames)
    with pytest.raises(FastModeError, match="fp16"):
        fast.stats()


def test_nothing_is_settled_before_there_is_a_mask(frames, monkeypatch):
    fast = load(precision="bf16")
    assert fast.stats().parity is None
    assert isinstance(fast, GuardedSegmenter)
    assert fast.reference is not None

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:  # float32 takes more memory than there is
        patch.setattr(fast.reference.network, "encode_video", full)
        masks(fast, frames)
    assert fast.stats().parity is None
    masks(fast, frames)
    assert fast.stats().parity is not None


def test_windows_that_share_frames_are_compared_too(frames):
    fast = load(precision="bf16")
    prepared = [fast.prepare(frame) for frame in frames]
    tracks = [answer.track for answer in fast.segment(prepared, SIZE, SENTENCES, None, Overlap(0, 2, [None] * 3))]
    list(fast.segment(prepared, SIZE, SENTENCES, None, Overlap(2, 6, tracks)))
    assert fast.stats().parity is not None


@pytest.mark.slow
def test_compiled_parts_give_the_same_masks(frames, monkeypatch):
    monkeypatch.setattr(fast_modes, "COMPILED", ("transformer.decoder",))  # the one that compiles fastest
    fast = load(compiled=True)
    expected, found = masks(load(), frames), masks(fast, frames)
    assert (expected != found).mean() < 1e-4
    share = fast.stats().parity
    assert share is not None
    assert share < 1e-3


def test_what_cannot_be_compiled_is_said(frames, monkeypatch):
    from torch._dynamo.exc import TorchDynamoException

    def decode(*_):
        raise TorchDynamoException("No working C++ compiler found\nand pages more")

    fast = load(precision="bf16")
    monkeypatch.setattr(fast.model, "decode", decode)
    with pytest.raises(FastModeError, match=r"\(No working C\+\+ compiler found\).* drop --compile"):
        masks(fast, frames)
