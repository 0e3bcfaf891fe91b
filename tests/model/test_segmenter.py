"""The Segmenter's door: windows, kept frames, shared work, sizes, refusals."""

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from model.postprocess import choose_query, displayed_boxes, query_margin
from model.referformer import ReferFormer
from model.segmenter import Segmenter, windows
from model.text_encoder import TokenBatch
from model.transform import normalize

SIZE = (75, 101)
SENTENCES = ["a dog", "the cat on the left", "a dog"]


class ByteTokenizer:
    """One token per byte."""

    def __call__(self, expressions) -> TokenBatch:
        (text,) = expressions
        ids = torch.tensor([[0, *(byte + 4 for byte in text.encode()), 2]])
        return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))

    def count(self, expression: str) -> int:
        return len(expression.encode()) + 2


@pytest.fixture(scope="module", params=["resnet", "video_swin"])
def segmenter(request, tiny_config):
    torch.manual_seed(1)
    model = ReferFormer(tiny_config(request.param))
    return Segmenter(model, ByteTokenizer(), device="cpu", short_side=40)


@pytest.fixture(scope="module")
def video():
    return list(np.random.default_rng(0).integers(0, 256, (5, *SIZE, 3), dtype=np.uint8))


def equal(one, other) -> bool:
    return (
        np.array_equal(one.masks, other.masks)
        and np.array_equal(one.scores, other.scores)
        and np.array_equal(one.boxes, other.boxes)
        and one.query == other.query
    )


def test_answers_have_the_displayed_size_and_memory_in_columns(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    assert frames[0].shape == (40, 53, 3)  # 40 * 101 / 75 is 53.9
    answers = list(segmenter.segment(frames, SIZE, SENTENCES))
    assert len(answers) == 3
    for answer in answers:
        assert answer.masks.shape == (5, *SIZE)
        assert answer.masks.dtype == bool
        assert answer.masks.transpose(1, 2, 0).flags.f_contiguous
        assert answer.scores.shape == (5,)
        assert answer.boxes.shape == (5, 4)
        assert answer.scores.dtype == answer.boxes.dtype == np.float32
        assert ((answer.scores > 0) & (answer.scores < 1)).all()
        assert answer.finite
        assert coco.encode(answer.masks.transpose(1, 2, 0).view(np.uint8))[0]["size"] == list(SIZE)


def test_shared_features_equal_separate_calls(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    together = list(segmenter.segment(frames, SIZE, SENTENCES))
    assert equal(together[0], together[2])
    for sentence, answer in zip(SENTENCES, together, strict=True):
        (alone,) = segmenter.segment(frames, SIZE, [sentence])
        assert equal(alone, answer)


@torch.inference_mode()
def test_answer_is_the_models(segmenter, video):
    """The published way, spelled out: whole masks, resize, sigmoid, threshold."""
    frames = [segmenter.prepare(frame) for frame in video]
    (answer,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    words = segmenter.tokenizer(SENTENCES[:1])
    out = segmenter.model(normalize(torch.from_numpy(np.stack(frames)))[None], words)
    query = choose_query(out.logits[0])
    resized = torch.nn.functional.interpolate(out.masks[0, :, query][None], SIZE, mode="bilinear")[0]
    clear = (resized.abs() > 1e-4).numpy()
    assert answer.query == query
    scores = out.logits[0].sigmoid().mean(0).amax(-1)
    assert answer.margin == pytest.approx(float(scores[query] - scores[scores < scores[query]].max()), abs=1e-5)
    assert query_margin(out.logits[0, :, :1], 0) is None
    assert ((resized.sigmoid() > 0.5).numpy() == answer.masks)[clear].all()
    np.testing.assert_allclose(answer.scores, out.logits[0, :, query].sigmoid().amax(-1), atol=1e-5)
    np.testing.assert_allclose(answer.boxes, displayed_boxes(out.boxes[0, :, query], SIZE), atol=1e-3)


def test_kept_frames(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    (all_frames,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    (some,) = segmenter.segment(frames, SIZE, SENTENCES[:1], keep=[1, 4])
    assert some.query == all_frames.query
    assert np.array_equal(some.masks, all_frames.masks[[1, 4]])
    np.testing.assert_array_equal(some.boxes, all_frames.boxes[[1, 4]])
    (one,) = segmenter.segment(frames, SIZE, SENTENCES[:1], keep=[3])
    assert one.masks.shape == (1, *SIZE)
    if segmenter.model.config.backbone.__class__.__name__ == "ResNetConfig":  # no context: as the frame alone
        (alone,) = segmenter.segment(frames[3:4], SIZE, SENTENCES[:1])
        assert (one.masks == alone.masks).mean() > 0.999
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-5)


def test_threshold_moves_the_masks(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    areas = []
    for threshold in (0.1, 0.5, 0.9):
        strict = Segmenter(segmenter.model, segmenter.tokenizer, device="cpu", threshold=threshold)
        (answer,) = strict.segment(frames, SIZE, SENTENCES[:1])
        areas.append(answer.masks.sum())
    assert areas[0] > areas[1] > areas[2]


def test_large_frames_are_cut_a_few_at_a_time(segmenter, video, monkeypatch):
    frames = [segmenter.prepare(frame) for frame in video]
    (whole,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    monkeypatch.setattr("model.segmenter.PIXELS_AT_ONCE", 2 * SIZE[0] * SIZE[1])
    (pieces,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    assert equal(whole, pieces)


def test_numbers_that_overflow_are_reported(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    bias = segmenter.model.controller.layers[-1].bias.data
    kept = bias.clone()
    bias.fill_(float("nan"))
    try:
        (answer,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    finally:
        bias.copy_(kept)
    assert not answer.finite


def test_nothing_is_computed_before_it_is_asked_for(segmenter, video, monkeypatch):
    frames = [segmenter.prepare(frame) for frame in video]
    monkeypatch.setattr(segmenter.model, "encode_video", None)
    assert list(segmenter.segment(frames, SIZE, [])) == []
    segmenter.segment(frames, SIZE, SENTENCES)


def test_refusals(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    with pytest.raises(ValueError, match="frames of one size"):
        segmenter.segment([*frames, video[0]], SIZE, SENTENCES)
    with pytest.raises(ValueError, match="frames of one size"):
        segmenter.segment([], SIZE, SENTENCES)
    for keep in ([5], [-1], []):
        with pytest.raises(ValueError, match="positions among 5 frames"):
            segmenter.segment(frames, SIZE, SENTENCES, keep=keep)
    with pytest.raises(ValueError, match="too small"):
        next(segmenter.segment([frame[:20] for frame in frames], SIZE, SENTENCES))
    with pytest.raises(ValueError, match="between 0 and 1"):
        Segmenter(segmenter.model, segmenter.tokenizer, threshold=1.0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='use "cpu" or "auto"'):
            Segmenter(segmenter.model, segmenter.tokenizer, device="cuda")


def test_counts(segmenter):
    assert segmenter.count_tokens("a dog") == 7
    assert segmenter.max_tokens == 64


@pytest.mark.parametrize(
    ("frames", "window", "expected"),
    [
        (7, 3, [range(3), range(3, 6), range(6, 7)]),
        (6, 3, [range(3), range(3, 6)]),
        (2, 36, [range(2)]),
        (5, None, [range(5)]),
        (0, None, []),
        (0, 4, []),
    ],
)
def test_windows(frames, window, expected):
    assert windows(frames, window) == expected


def test_window_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        windows(5, 0)


@pytest.mark.parametrize("size", [(2, 1000), (1000, 2), (4, 120_000)])
def test_absurd_shapes_are_refused_before_they_are_resized(segmenter, size):
    with pytest.raises(ValueError, match=f"a frame of {size[1]}x{size[0]} becomes"):
        Segmenter(segmenter.model, segmenter.tokenizer, device="cpu", short_side=64, max_size=640).prepare(
            np.zeros((*size, 3), np.uint8)
        )
    with pytest.raises(ValueError, match="at most 4194304 in all"):
        Segmenter(segmenter.model, segmenter.tokenizer, device="cpu").prepare(np.zeros((*size, 3), np.uint8))
