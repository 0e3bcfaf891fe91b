"""Every way through the segmenter keeps its tensors on the model's device: no operation mixes two, and no mask changes.

A GPU would refuse what `tests.second_device` refuses.
"""

import numpy as np
import pytest
import torch

from model import memory
from model.bundled import FOLDER
from model.families import load_segmenter
from model.segmenter import InferenceRules, Overlap, Segmentation
from tests.second_device import second_device

SIZE = (70, 100)
SENTENCES = ["the red circle", "the blue square on the left", "the circle that moves"]
PUBLISHED_A2D = InferenceRules(all_candidates=True, nearest=True, pad_to=32, lower_case=True)


@pytest.fixture(scope="module")
def video():
    return list(np.random.default_rng(0).integers(0, 256, (4, *SIZE, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        (InferenceRules(), {}),
        (InferenceRules(), {"keep": [1]}),
        (InferenceRules(), {"keep": [0, 2]}),
        (InferenceRules(), {"exclusive": [2, 1]}),
        (PUBLISHED_A2D, {"keep": [2]}),
    ],
    ids=["all frames", "one frame of several", "some frames", "exclusive", "all candidates, padded, nearest"],
)
def test_windows_stay_on_their_device(video, rules, options, monkeypatch):
    monkeypatch.setattr(memory, "sentences_at_once", lambda *_: 2)
    here, there = (
        run(
            rules,
            device,
            lambda segmenter: list(segmenter.segment(prepared(segmenter, video), SIZE, SENTENCES, **options)),
        )
        for device in (False, True)
    )
    assert_equal(here, there)


def test_windows_that_share_frames_stay_on_their_device(video, monkeypatch):
    monkeypatch.setattr(memory, "sentences_at_once", lambda *_: 2)

    def follow(segmenter) -> list[Segmentation]:
        frames, found, tracks = prepared(segmenter, video), [], [None] * len(SENTENCES)
        for start, final in ((0, 1), (1, 4)):
            window = frames[start : start + 3]
            answers = list(segmenter.segment(window, SIZE, SENTENCES, overlap=Overlap(start, final, tracks)))
            tracks = [answer.track for answer in answers]
            found += answers
        return found

    assert_equal(*(run(InferenceRules(), device, follow) for device in (False, True)))


def test_the_device_refuses_what_a_gpu_refuses():
    with second_device() as device, torch.inference_mode():
        there = torch.ones(2, device=device)
        with pytest.raises(RuntimeError, match="same device"):
            there + torch.ones(2)
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
        assert (there + 1).cpu().tolist() == [2, 2]


def run(rules: InferenceRules, elsewhere: bool, work) -> list[Segmentation]:
    """Return the answers of `work(segmenter)` with the bundled checkpoint."""
    segmenter = load_segmenter(FOLDER, device="cpu", rules=rules)
    if not elsewhere:
        return work(segmenter)
    with second_device() as device:
        segmenter.model.to(device)
        segmenter.network.device = segmenter.network.batch_sizer.device = device
        return work(segmenter)


def prepared(segmenter, video) -> list[np.ndarray]:
    return [segmenter.prepare(frame) for frame in video]


def assert_equal(here: list[Segmentation], there: list[Segmentation]) -> None:
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        for a, b in zip(one.candidates, other.candidates, strict=True):
            assert a.query == b.query
            assert np.array_equal(a.masks, b.masks)
            assert np.array_equal(a.scores, b.scores)
            assert np.array_equal(a.boxes, b.boxes)
