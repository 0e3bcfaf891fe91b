"""What only a GPU can show: its masks, its fast modes, its full memory. Parity tests have parameters for it.

pytest -m gpu
"""

import gc

import numpy as np
import pytest
import torch

from model.bundled import FOLDER
from model.families import load_segmenter
from model.segmenter import InferenceRules, Overlap, Segmentation
from tests.moving_shapes import MovingScene

pytestmark = pytest.mark.gpu

SIZE = (180, 320)
SENTENCES = ["the red circle", "the blue square on the left", "the star that moves to the right"]
NEAR = 2e-4  # of the mask pixels: those at the cut, where the order of additions decides


@pytest.fixture(scope="module")
def video() -> list[np.ndarray]:
    scene = MovingScene.random(np.random.default_rng(0), *SIZE, 4)
    return [scene.render(index)[0] for index in range(12)]


@pytest.fixture(autouse=True)
def empty_cache(gpu):
    yield
    gc.collect()
    torch.cuda.empty_cache()


@pytest.mark.parametrize(
    ("rules", "options"),
    [
        (InferenceRules(), {}),
        (InferenceRules(), {"keep": [1]}),
        (InferenceRules(), {"exclusive": [2, 1]}),
        (InferenceRules(all_candidates=True, nearest=True, pad_to=32, lower_case=True), {"keep": [2]}),
    ],
    ids=["all frames", "one frame of several", "exclusive", "all candidates"],
)
def test_windows_have_the_masks_of_the_cpu(video, rules, options):
    answers = [
        list(segmenter.segment([segmenter.prepare(frame) for frame in video], SIZE, SENTENCES, **options))
        for segmenter in (load_segmenter(FOLDER, device=name, rules=rules) for name in ("cpu", "cuda"))
    ]
    assert_close(*answers)


def test_windows_that_share_frames_have_the_masks_of_the_cpu(video):
    def follow(name: str) -> list[Segmentation]:
        segmenter, found, tracks = load_segmenter(FOLDER, device=name), [], [None] * len(SENTENCES)
        frames = [segmenter.prepare(frame) for frame in video]
        for start, final in ((0, 4), (4, 12)):
            window = frames[start : start + 8]
            answers = list(segmenter.segment(window, SIZE, SENTENCES, overlap=Overlap(start, final, tracks)))
            tracks = [answer.track for answer in answers]
            found += answers
        return found

    assert_close(follow("cpu"), follow("cuda"))


@pytest.mark.parametrize("options", [{"precision": "bf16"}, {"precision": "fp16"}, {"compiled": True}], ids=str)
def test_fast_modes_keep_the_masks(video, options):
    segmenter = load_segmenter(FOLDER, device="cuda", **options)
    answers = list(segmenter.segment([segmenter.prepare(frame) for frame in video], SIZE, SENTENCES))
    assert all(answer.finite for answer in answers)
    parity = segmenter.stats().parity
    assert parity is not None
    assert parity < 0.02


def test_full_memory_halves_the_batch_and_keeps_the_masks(video):
    """The ladder of `model.memory`, with the real error of a GPU."""
    large = load_segmenter(FOLDER, device="cuda", short_side=360)
    frames = [large.prepare(frame) for frame in video]
    expected = list(large.segment(frames, SIZE, SENTENCES * 8))
    peak = torch.cuda.max_memory_allocated()
    small = load_segmenter(FOLDER, device="cuda", short_side=360)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.5 * peak / total)
    try:
        found = list(small.segment(frames, SIZE, SENTENCES * 8))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert small.stats().halvings
    assert_close(expected, found)


def assert_close(here: list[Segmentation], there: list[Segmentation]) -> None:
    assert len(here) == len(there) > 0
    for one, other in zip(here, there, strict=True):
        for a, b in zip(one.candidates, other.candidates, strict=True):
            assert a.query == b.query
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
            np.testing.assert_allclose(a.boxes, b.boxes, atol=0.05)
            assert np.mean(a.masks != b.masks) <= NEAR
