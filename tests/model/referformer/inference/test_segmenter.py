"""The Segmenter's door: windows, kept frames, shared work, sizes, refusals."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pycocotools import mask as coco

from model.boxes import main_boxes_of
from model.referformer.inference.postprocess import a2d_masks, choose_query, displayed_boxes, query_margin
from model.referformer.inference.preprocess import normalize
from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch
from model.segmenter import InferenceRules, Overlap

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
    return ReferFormerSegmenter(model, ByteTokenizer(), device="cpu", short_side=40)


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
    words = segmenter.network.tokenizer(SENTENCES[:1])
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


def test_sentences_go_through_the_model_together(segmenter, video, monkeypatch):
    """The masks are those of one at a time."""
    frames = [segmenter.prepare(frame) for frame in video]
    sentences = ["a dog", "the cat on the left", "a bird", "it", "the largest of them all"]

    def run(most: int) -> tuple[list, list[int]]:
        batches = []
        decode = segmenter.model.decode

        def watch(seen, text):
            batches.append(len(text.sentence))
            return decode(seen, text)

        with monkeypatch.context() as patch:
            patch.setattr("model.memory.sentences_at_once", lambda *_: most)
            patch.setattr(segmenter.model, "decode", watch)
            return list(segmenter.segment(frames, SIZE, sentences)), batches

    alone, one_each = run(1)
    together, batches = run(2)
    assert (one_each, batches) == ([1] * 5, [2, 2, 1])
    for one, other in zip(alone, together, strict=True):
        assert one.query == other.query
        assert (one.masks == other.masks).mean() > 0.9999
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-6)
        np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-3)


def test_full_memory_halves_what_is_computed_at_once(tiny_config, video, monkeypatch):
    """First the sentences, then the frames; the masks stay as they are, and it is counted."""
    torch.manual_seed(1)
    model = ReferFormer(tiny_config("resnet"))
    segmenter = ReferFormerSegmenter(model, ByteTokenizer(), device="cpu", short_side=40)
    frames = [segmenter.prepare(frame) for frame in video]
    sentences = ["a dog", "the cat on the left", "a bird", "it"]
    expected = list(segmenter.segment(frames, SIZE, sentences))
    monkeypatch.setattr("model.memory.sentences_at_once", lambda *_: 8)
    transformer, most = model.transformer.forward, 3

    def small(maps, *rest):
        if len(maps[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return transformer(maps, *rest)

    monkeypatch.setattr(model.transformer, "forward", small)
    found = list(segmenter.segment(frames, SIZE, sentences))
    assert segmenter.stats().halvings == 3  # 4 sentences, 2, 1, then 2 of 5 frames
    assert segmenter.stats().halvings == 0
    assert model.frames_at_once == 2
    for one, other in zip(expected, found, strict=True):
        assert (one.masks == other.masks).mean() > 0.9999
    list(segmenter.segment(frames[:2], SIZE, sentences[:1]))
    assert model.frames_at_once is None  # small enough: not slowed down
    room, most = segmenter.network.batch_sizer.max_pixels, 0
    with pytest.raises(torch.OutOfMemoryError):
        list(segmenter.segment(frames, SIZE, sentences))
    assert segmenter.network.batch_sizer.max_pixels == room  # no reason for other windows to be slow


@torch.inference_mode()
def direct(segmenter, frames, sentence):
    """Score probabilities [T, Q], boxes [T, Q, 4] and mask logits [T, Q, h, w] of one window."""
    pixels = normalize(torch.from_numpy(np.stack(frames)))[None]
    out = segmenter.model(pixels, segmenter.network.tokenizer([sentence]))
    return out.logits[0].sigmoid().amax(-1), out.boxes[0], out.masks[0]


def follow(segmenter, frames, windows, sentences=SENTENCES[:1], keep=None):
    """The answers of windows that share frames: for each window the list of one for each sentence."""
    tracks, answers = [None] * len(sentences), []
    for number, window in enumerate(windows):
        final = windows[number + 1].start if number + 1 < len(windows) else window.stop
        inside = None if keep is None else [i - window.start for i in keep if i in window]
        overlap = Overlap(window.start, final, tracks)
        answers.append(list(segmenter.segment(frames[window.start : window.stop], SIZE, sentences, inside, overlap)))
        tracks = [answer.track for answer in answers[-1]]
    return answers


@pytest.fixture(scope="module")
def longer():
    return list(np.random.default_rng(1).integers(0, 256, (9, *SIZE, 3), dtype=np.uint8))


# The last one is shifted back and shares 3 frames, of which place 4 lies in three windows.
SHARING = [range(4), range(2, 6), range(4, 8), range(5, 9)]


def test_frames_of_several_windows_are_their_mean_as_far_as_they_agree(segmenter, longer):
    frames = [segmenter.prepare(frame) for frame in longer]
    answers = [answer for (answer,) in follow(segmenter, frames, SHARING)]
    assert [len(answer.masks) for answer in answers] == [2, 2, 1, 4]
    found = {
        name: np.concatenate([getattr(answer, name) for answer in answers]) for name in ("masks", "scores", "boxes")
    }
    seen = {place: [] for place in range(9)}
    for window, answer in zip(SHARING, answers, strict=True):
        parts = direct(segmenter, frames[window.start : window.stop], SENTENCES[0])
        for position, place in enumerate(window):
            seen[place].append([part[position, answer.query] for part in parts])
    assert [len(seen[place]) for place in range(9)] == [1, 1, 2, 2, 2, 3, 2, 2, 1]
    for place in range(9):
        score, box, logits = blended(seen[place])
        resized = torch.nn.functional.interpolate(logits[None, None], SIZE, mode="bilinear")[0, 0]
        clear = (resized.abs() > 1e-4).numpy()
        assert clear.mean() > 0.9
        assert ((resized > 0).numpy() == found["masks"][place])[clear].all()
        assert found["scores"][place] == pytest.approx(score.item(), abs=1e-5)
        np.testing.assert_allclose(found["boxes"][place], displayed_boxes(box, SIZE), atol=1e-3)


def blended(windows):
    """Score, box and mask logits of one frame: each later window counts by the IoU of its mask with what was before."""
    mean, count = windows[0], 1.0
    for later in windows[1:]:
        one, other = mean[-1] > 0, later[-1] > 0
        either = (one | other).sum()
        agreement = float((one & other).sum() / either) if either else 1.0
        count += agreement
        mean = [x + (new - x) * (agreement / count) for x, new in zip(mean, later, strict=True)]
    return mean


def test_the_query_of_a_later_window_is_that_of_the_rule(segmenter, longer, monkeypatch):
    frames = [segmenter.prepare(frame) for frame in longer]
    asked = []
    monkeypatch.setattr("model.referformer.inference.segmenter.link_query", lambda *given: asked.append(given) or 2)
    answers = [answer for (answer,) in follow(segmenter, frames, SHARING[:2])]
    assert answers[1].query == 2
    (logits, looks, look, in_place) = asked[0]
    assert (logits.shape, looks.shape, look.shape, in_place.shape) == ((4, 3, 1), (3, 24), (24,), (3,))
    (scores, _, first), (_, _, second) = (
        direct(segmenter, frames[w.start : w.stop], SENTENCES[0]) for w in SHARING[:2]
    )
    mine, theirs = first[2:, answers[0].query].sigmoid()[:, None], second[:2].sigmoid()
    belief = scores[2:, answers[0].query] * (mine > 0.5).flatten(1).any(1)
    common, either = (mine * theirs).sum((2, 3)), (mine**2 + theirs**2 - mine * theirs).sum((2, 3))
    expected = (belief.mean() * (belief @ common) / (belief @ either)).nan_to_num(0.0)
    torch.testing.assert_close(in_place, expected, atol=1e-4, rtol=1e-3)


def test_only_what_a_later_window_sees_is_carried_and_not_on_the_device(segmenter, longer):
    frames = [segmenter.prepare(frame) for frame in longer]
    tracks = [answer.track for (answer,) in follow(segmenter, frames, SHARING)]
    assert [track.overlap.positions for track in tracks] == [(2, 3), (4, 5), (5, 6, 7), ()]
    for track in tracks:
        parts = [
            track.appearance,
            track.overlap.logits,
            track.overlap.scores,
            track.overlap.boxes,
            track.overlap.windows,
        ]
        assert {part.device.type for part in parts} == {"cpu"}
        assert track.overlap.logits.untyped_storage().nbytes() == track.overlap.logits.numel() * 4  # nothing behind it
        height, width = frames[0].shape[:2]
        assert track.overlap.logits[:1].numel() * 4 < height * width  # at the stride of the masks


def test_a_video_of_one_window_is_answered_as_without_overlap(segmenter, longer):
    frames = [segmenter.prepare(frame) for frame in longer]
    plain = list(segmenter.segment(frames, SIZE, SENTENCES))
    (answers,) = follow(segmenter, frames, [range(9)], SENTENCES)
    assert all(equal(one, other) for one, other in zip(plain, answers, strict=True))


def test_sentences_are_followed_apart_from_each_other(segmenter, longer):
    frames = [segmenter.prepare(frame) for frame in longer]
    together = follow(segmenter, frames, SHARING, SENTENCES)
    for number, sentence in enumerate(SENTENCES):
        for alone, answers in zip(follow(segmenter, frames, SHARING, [sentence]), together, strict=True):
            assert equal(alone[0], answers[number])


def test_kept_frames_of_windows_that_share_frames(segmenter, longer):
    frames = [segmenter.prepare(frame) for frame in longer]
    every = np.concatenate([answer.masks for (answer,) in follow(segmenter, frames, SHARING)])
    keep = [1, 2, 3, 4, 5, 7, 8]  # at least two in each window
    some = [answer for (answer,) in follow(segmenter, frames, SHARING, keep=keep)]
    assert [len(answer.masks) for answer in some] == [1, 2, 1, 3]
    assert np.array_equal(np.concatenate([answer.masks for answer in some]), every[keep])
    # One frame of each window, the A2D way: what two windows keep is the mean of both, the rest is nobody's.
    single = [answer for (answer,) in follow(segmenter, frames, SHARING[:2], keep=[3])]
    assert [len(answer.masks) for answer in single] == [0, 1]
    assert single[0].track.overlap.positions == (3,)
    assert single[1].track.overlap.positions == ()


def test_a_window_in_parts_answers_the_frames_of_earlier_windows_once(segmenter, longer):
    """As it is cut where memory does not suffice."""
    frames = [segmenter.prepare(frame) for frame in longer]
    ((first,),) = follow(segmenter, frames, [range(6)])
    (held,) = segmenter.segment(frames[:6], SIZE, SENTENCES[:1], None, Overlap(0, 2, [None]))
    assert held.track.overlap.positions == (2, 3, 4, 5)
    (left,) = segmenter.segment(frames[2:4], SIZE, SENTENCES[:1], None, Overlap(2, 8, [held.track]))
    assert left.track.overlap.positions == (4, 5)
    (right,) = segmenter.segment(frames[4:8], SIZE, SENTENCES[:1], None, Overlap(4, 8, [left.track]))
    assert [len(answer.masks) for answer in (held, left, right)] == [2, 2, 4]
    assert right.track.overlap.positions == ()
    assert np.array_equal(held.masks, first.masks[:2])


def test_threshold_moves_the_masks(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    areas = []
    for threshold in (0.1, 0.5, 0.9):
        strict = ReferFormerSegmenter(segmenter.model, segmenter.network.tokenizer, device="cpu", threshold=threshold)
        (answer,) = strict.segment(frames, SIZE, SENTENCES[:1])
        areas.append(answer.masks.sum())
    assert areas[0] > areas[1] > areas[2]


def test_large_frames_are_cut_a_few_at_a_time(segmenter, video, monkeypatch):
    frames = [segmenter.prepare(frame) for frame in video]
    (whole,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    monkeypatch.setattr("model.referformer.inference.displayed_masks.UPSAMPLED_PIXELS", 2 * SIZE[0] * SIZE[1])
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
        ReferFormerSegmenter(segmenter.model, segmenter.network.tokenizer, threshold=1.0)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='use "cpu" or "auto"'):
            ReferFormerSegmenter(segmenter.model, segmenter.network.tokenizer, device="cuda")


def test_counts(segmenter):
    assert segmenter.count_tokens("a dog") == 7
    assert segmenter.max_tokens == 64


@pytest.mark.parametrize("size", [(2, 1000), (1000, 2), (4, 120_000)])
def test_absurd_shapes_are_refused_before_they_are_resized(segmenter, size):
    with pytest.raises(ValueError, match=f"a frame of {size[1]}x{size[0]} becomes"):
        ReferFormerSegmenter(
            segmenter.model, segmenter.network.tokenizer, device="cpu", short_side=64, max_size=640
        ).prepare(np.zeros((*size, 3), np.uint8))
    with pytest.raises(ValueError, match="at most 4194304 in all"):
        ReferFormerSegmenter(segmenter.model, segmenter.network.tokenizer, device="cpu").prepare(
            np.zeros((*size, 3), np.uint8)
        )


@pytest.mark.parametrize("option", [{"device": "gpu"}, {"precision": "fp8"}])
def test_unknown_options_are_named(segmenter, option):
    with pytest.raises(ValueError, match=f"unknown {next(iter(option))} '.*'; choose from"):
        ReferFormerSegmenter(segmenter.model, segmenter.network.tokenizer, **option)


def with_rules(segmenter, **rules):
    """The same model with rules, and a low threshold, so that there are masks."""
    rules = InferenceRules(**rules)
    return ReferFormerSegmenter(
        segmenter.model, segmenter.network.tokenizer, device="cpu", short_side=40, threshold=0.3, rules=rules
    )


def test_exclusive_masks_give_each_pixel_to_the_most_probable_object_of_its_group(segmenter, video):
    segmenter = with_rules(segmenter)
    frames = [segmenter.prepare(frame) for frame in video[:4]]
    free = list(segmenter.segment(frames, SIZE, SENTENCES))
    exclusive = list(segmenter.segment(frames, SIZE, SENTENCES, exclusive=[1, len(SENTENCES) - 1]))
    assert (exclusive[0].masks == free[0].masks).all()  # alone in its group
    group = np.stack([answer.masks for answer in exclusive[1:]])
    assert group.sum(0).max() == 1
    assert (group.any(0) == np.stack([answer.masks for answer in free[1:]]).any(0)).all()
    assert [answer.scores.tolist() for answer in exclusive] == [answer.scores.tolist() for answer in free]
    reordered = [SENTENCES[0], *SENTENCES[:0:-1]]
    others = list(segmenter.segment(frames, SIZE, reordered, exclusive=[1, len(SENTENCES) - 1]))
    assert all((one.masks == other.masks).all() for one, other in zip(exclusive[1:], others[:0:-1], strict=True))


def test_equal_objects_go_to_the_first(segmenter, video):
    segmenter = with_rules(segmenter)
    frames = [segmenter.prepare(frame) for frame in video[:2]]
    first, second = segmenter.segment(frames, SIZE, [SENTENCES[0]] * 2, exclusive=[2])
    (alone,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    assert alone.masks.any()
    assert (first.masks != alone.masks).mean() < 1e-3  # two sentences at once are rounded in another way than one
    assert not second.masks.any()


def test_all_candidates_come_in_order_with_the_chosen_one(segmenter, video):
    segmenter = with_rules(segmenter)
    frames = [segmenter.prepare(frame) for frame in video[:3]]
    (alone,) = segmenter.segment(frames, SIZE, SENTENCES[:1])
    (found,) = with_rules(segmenter, all_candidates=True).segment(frames, SIZE, SENTENCES[:1])
    assert found.query == alone.query
    assert (found.masks == alone.masks).all()
    assert [candidate.query for candidate in found.candidates] == list(range(segmenter.model.config.queries))
    assert max(found.candidates, key=lambda one: one.scores.mean()) is found
    assert [alone] == alone.candidates
    with pytest.raises(ValueError, match="with all candidates"):
        with_rules(segmenter, all_candidates=True).segment(frames, SIZE, SENTENCES, exclusive=[len(SENTENCES)])


def test_words_are_lower_cased_and_joined_by_single_blanks(segmenter, video):
    segmenter = with_rules(segmenter)
    frames = [segmenter.prepare(frame) for frame in video[:2]]
    published = with_rules(segmenter, lower_case=True)
    (plain,), (found,) = (
        segmenter.segment(frames, SIZE, ["a red dog"]),
        published.segment(frames, SIZE, [" A  Red dog\t"]),
    )
    assert (plain.masks == found.masks).all()
    assert published.count_tokens(" A  Red dog\t") == segmenter.count_tokens("a red dog")


def test_padding_is_hidden_from_the_model(segmenter, video):
    segmenter = with_rules(segmenter)
    frames = [segmenter.prepare(frame) for frame in video[:2]]
    height, width = frames[0].shape[:2]
    pad_to = next(number for number in (32, 16, 12) if height % number or width % number)
    (found,) = with_rules(segmenter, pad_to=pad_to, nearest=True).segment(frames, SIZE, SENTENCES[:1])
    padded = (-(-height // pad_to) * pad_to, -(-width // pad_to) * pad_to)
    pixels = torch.zeros(1, 2, 3, *padded)
    pixels[..., :height, :width] = normalize(torch.from_numpy(np.stack(frames)))
    hidden = torch.ones(1, 2, *padded, dtype=torch.bool)
    hidden[..., :height, :width] = False
    with torch.inference_mode():
        out = segmenter.model(pixels, segmenter.network.tokenizer(SENTENCES[:1]), padding=hidden)
    assert found.query == choose_query(out.logits[0])
    expected = a2d_masks(out.masks[0, :, found.query], (height, width), SIZE, threshold=0.3)
    assert (torch.from_numpy(found.masks) == expected).float().mean() > 0.999


def test_boxes_around_the_largest_pieces_of_the_masks_where_the_config_says_so(segmenter, video):
    frames = [segmenter.prepare(frame) for frame in video]
    config = replace(segmenter.model.config, mask_boxes=True)
    model = ReferFormer(config)
    model.load_state_dict(segmenter.model.state_dict())
    boxed = ReferFormerSegmenter(model, ByteTokenizer(), device="cpu", short_side=40)
    for exclusive in ((), (3,)):
        plain = segmenter.segment(frames, SIZE, SENTENCES, exclusive=exclusive)
        for one, other in zip(plain, boxed.segment(frames, SIZE, SENTENCES, exclusive=exclusive), strict=True):
            assert np.array_equal(one.masks, other.masks)
            assert np.array_equal(other.boxes, main_boxes_of(one.masks))
            assert not np.array_equal(one.boxes, other.boxes)
