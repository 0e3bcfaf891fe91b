"""Clips from single images."""

import numpy as np

from pipeline.training.augment import TrainingClip, tight_boxes
from pipeline.training.pseudo_clip import pseudo_clip


def image() -> TrainingClip:
    """A red square on grey."""
    masks = np.zeros((1, 60, 80), bool)
    masks[0, 20:40, 30:50] = True
    frames = np.full((1, 60, 80, 3), 100, np.uint8)
    frames[masks] = (220, 30, 30)
    return TrainingClip(frames=frames, masks=masks, boxes=tight_boxes(masks), present=np.array([True]), sentence="x")


def test_the_image_itself_is_among_the_frames_and_masks_follow_the_copies():
    clip = pseudo_clip(image(), 5, np.random.default_rng(3))
    assert clip.frames.shape == (5, 60, 80, 3)
    assert any((frame == image().frames[0]).all() for frame in clip.frames)
    for frame, mask in zip(clip.frames.astype(int), clip.masks, strict=True):
        red = frame[..., 0] - frame[..., 1] > 60
        assert (red & mask).sum() / (red | mask).sum() > 0.6


def test_it_follows_from_the_generator():
    one, other = (pseudo_clip(image(), 3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.boxes, other.boxes)
