"""Training transforms: equal to the recordings where asked to be, and right otherwise."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from model.referformer.inference.preprocess import normalize
from pipeline.training.augment import (
    Augmentation,
    TrainingClip,
    crop,
    flip,
    relative_boxes,
    resize_clip,
    settle,
    swap_sides,
    tight_boxes,
)
from pipeline.training.colour import ColourChange, names_colour, other_colours
from tests import parity


@pytest.fixture(scope="module", params=parity.params("training/cases/augment_*.json"))
def case(request) -> parity.Recording:
    return parity.Recording(request.param)


def published_clip(entry: dict, salt: str) -> TrainingClip:
    size = entry["height"], entry["width"]
    frames = np.stack([parity.image(f"{entry['key']}/{t}", *size, salt) for t in range(entry["frames"])])
    masks = parity.ellipses(entry["key"], entry["frames"], *size, salt).astype(bool)
    boxes = np.zeros((entry["frames"], 4))
    for t, kind in enumerate(entry["kinds"]):
        if kind == "absent":
            masks[t] = False
        if kind == "column":
            masks[t, :, np.arange(size[1]) != np.flatnonzero(masks[t].any(0))[0] + 1] = False
        if masks[t].any():
            boxes[t] = parity.first_and_last(masks[t])
    assert boxes.tolist() == entry["boxes_xyxy_before"]
    assert sha(masks) == entry["masks_sha256_16_before"]
    present = np.array(entry["valid_before"], dtype=bool)
    return TrainingClip(frames=frames, masks=masks, boxes=boxes, present=present, sentence=entry["caption"])


def sha(masks: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(masks).astype(np.uint8).tobytes()).hexdigest()[:16]


def apply(clip: TrainingClip, operation: list) -> TrainingClip:
    name, *values = operation
    if name == "hflip":
        return flip(clip, published=True)
    if name == "resize":
        return resize_clip(clip, *values)
    if name == "crop":
        return crop(clip, *values)
    assert name in ("check", "normalize")
    return settle(clip, published=True) if name == "check" else clip


def test_published_transforms_agree(case):
    for entry in case.info["clips"]:
        clip = published_clip(entry, case.salt)
        for operation in entry["ops"]:
            clip = apply(clip, operation)
        assert clip.sentence == entry["caption_after"]
        assert list(clip.size) == entry["size_after"]
        assert clip.present.astype(int).tolist() == entry["valid_after"]
        assert (sha(clip.masks), clip.masks.sum((1, 2)).tolist()) == (
            entry["masks_sha256_16_after"],
            entry["mask_pixels_after"],
        )
        np.testing.assert_allclose(relative_boxes(clip), case.arrays[f"{entry['key']}.boxes"], atol=1e-6)
        pixels = normalize(torch.from_numpy(clip.frames.copy())).reshape(-1)[:: entry["image_stride"]]
        np.testing.assert_allclose(pixels, case.arrays[f"{entry['key']}.image@sample"], atol=0.02)


def test_published_colours_agree_to_one_grey_level(case):
    image = parity.image("colour", 48, 64, case.salt)
    for number, entry in enumerate(case.info["colour"]):
        names = ("brightness", "contrast", "saturation", "hue", "contrast_first")
        channels = entry["channels"] and tuple(entry["channels"])
        change = ColourChange(**{name: entry[name] for name in names}, channels=channels)
        found = change.apply(image // 4 + 96 if entry["soft"] else image, published=True)
        difference = (found.astype(int) - case.arrays[f"colour{number}"] + 128) % 256 - 128
        assert abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("sentence", "swapped"),
    [
        ("left of the bright right one", "right of the bright left one"),
        ("Left cat @ rightmost", "Right cat @ leftmost"),
        ("the upright man in copyright RIGHT", "the upright man in copyright LEFT"),
        ("left-hand side, leftwards, righthand", "right-hand side, rightwards, lefthand"),
        ("the cleft leftover", "the cleft leftover"),
    ],
)
def test_words_are_swapped_and_nothing_inside_them(sentence, swapped):
    assert swap_sides(sentence) == swapped
    assert swap_sides(swapped) == sentence


def test_colours_do_not_wrap():
    bright = np.full((4, 4, 3), 250, np.uint8)
    assert ColourChange(brightness=30.0).apply(bright).min() == 255
    assert ColourChange(brightness=30.0).apply(bright, published=True).max() < 30


def test_saturation_and_hue_keep_grey_and_turn_red():
    grey = np.full((2, 2, 3), 90, np.uint8)
    np.testing.assert_array_equal(ColourChange(saturation=1.5, hue=15.0).apply(grey), grey)
    red = np.array([[[200, 0, 0]]], np.uint8)
    assert ColourChange(hue=60.0).apply(red).tolist() == [[[200, 200, 0]]]
    assert ColourChange(hue=-60.0).apply(red).tolist() == [[[200, 0, 200]]]


def test_other_colours_are_the_same_in_all_frames_and_keep_what_differs():
    rng = np.random.default_rng(0)
    frame = np.array([[[200, 60, 60], [60, 60, 200], [128, 127, 128]]], np.uint8)
    turned = other_colours(np.stack([frame, frame[:, ::-1]]), rng).astype(int)
    np.testing.assert_array_equal(turned[0], turned[1, :, ::-1])
    red, blue, grey = turned[0, 0]
    assert abs(np.linalg.norm(red - blue) - np.linalg.norm([140, 0, 140])) < 2
    assert abs(grey - 127.5).max() < 1.5
    assert abs(red - [200, 60, 60]).max() > 20


@pytest.mark.parametrize(
    "sentence", ["a Red car", "the whitish one", "person in dark grey", "the blonde", "golden dog"]
)
def test_words_for_colours(sentence):
    assert names_colour(sentence)


@pytest.mark.parametrize("sentence", ["the leftmost circle", "a bored tanker", "the greenhouse", "man reading"])
def test_other_words(sentence):
    assert not names_colour(sentence)


def test_only_what_is_said_without_a_colour_may_have_others(clip):
    augmentation = Augmentation(flip=0.0, colour=False, sizes=(60,), crop=0.0, other_colours=1.0)
    rng = np.random.default_rng(1)
    named = replace(clip, sentence="the red box")
    np.testing.assert_array_equal(augmentation.apply(named, rng).frames, clip.frames)
    changed = augmentation.apply(clip, rng)
    assert abs(changed.frames.astype(int) - clip.frames).mean() > 20
    np.testing.assert_array_equal(changed.masks, clip.masks)


@pytest.mark.parametrize("name", ["flip", "other_colours", "crop"])
def test_probabilities_are_checked(name):
    with pytest.raises(ValueError, match=f"augmentation.{name} is a probability, 0 to 1, got 7.0"):
        Augmentation(**{name: 7.0})


@pytest.fixture
def clip() -> TrainingClip:
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 60, 80), bool)
    masks[0, 10:30, 5:25] = True
    masks[2, 40:41, 70:71] = True
    frames = rng.integers(0, 255, (3, 60, 80, 3)).astype(np.uint8)
    return TrainingClip(
        frames=frames, masks=masks, boxes=tight_boxes(masks), present=masks.any((1, 2)), sentence="the left box"
    )


def test_a_flip_keeps_box_and_mask_together_and_undoes_itself(clip):
    flipped = flip(clip)
    np.testing.assert_array_equal(settle(flipped).boxes[0], [55, 10, 75, 30])
    np.testing.assert_array_equal(flip(flipped).frames, clip.frames)
    assert (flipped.sentence, flip(flipped).sentence) == ("the right box", clip.sentence)


def test_what_a_crop_takes_away_is_absent(clip):
    rest = settle(crop(clip, 0, 15, 60, 40))
    assert rest.present.tolist() == [True, False, False]
    assert rest.boxes.tolist() == [[0, 10, 10, 30], [0] * 4, [0] * 4]


def test_a_single_pixel_is_an_object(clip):
    assert settle(clip).present.tolist() == [True, False, True]
    np.testing.assert_allclose(relative_boxes(settle(clip))[2], [70.5 / 80, 40.5 / 60, 1 / 80, 1 / 60], rtol=1e-6)


def test_augmentation_follows_from_the_generator_and_never_loses_the_object(clip):
    augmentation = Augmentation(
        sizes=(48, 64), max_size=96, crop_from=(64, 80), crop_sides=(40, 60), crop=0.8, crop_max_size=80
    )
    seen = set()
    for seed in range(30):
        one, other = (augmentation.apply(clip, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one.frames, other.frames)
        assert one.present.any()
        assert (one.masks.any((1, 2)) == one.present).all()
        assert min(one.size) <= 64
        assert max(one.size) <= 96
        seen.add((one.size, one.sentence))
    assert len(seen) > 10
