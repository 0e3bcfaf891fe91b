"""What true masks look like: the compiled sums against numpy, the attributes against hand-made tracks."""

import numpy as np
import pytest

from pipeline.evaluation.metrics import count_pixels
from pipeline.evaluation.scoring.object_attributes import SHAPE_ATTRIBUTES, object_size, track_attributes
from schemas import rle


def describe(frames):
    """frames: for each, a list of masks of one size, whose union it is."""
    strings = [rle.encode(mask[None])[0] for masks in frames for mask in masks]
    sizes = np.array([masks[0].shape for masks in frames], np.int64)
    return count_pixels.describe_frames(
        np.frombuffer(b"".join(strings), np.uint8),
        np.cumsum([0, *map(len, strings)], dtype=np.int64),
        np.cumsum([0, *map(len, frames)], dtype=np.int64),
        np.arange(len(strings)),
        sizes[:, 0].copy(),
        sizes[:, 1].copy(),
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (63, 5), (64, 5), (65, 7), (130, 40)])
def test_sums_of_unions(size):
    rng = np.random.default_rng(sum(size))
    frames = [[rng.random(size) < p, rng.random(size) < p] for p in (0, 0.1, 0.5, 1)]
    for masks, shape in zip(frames, describe(frames).tolist(), strict=True):
        mask = masks[0] | masks[1]
        y, x = np.nonzero(mask)
        border = (y == 0) | (y == size[0] - 1) | (x == 0) | (x == size[1] - 1)
        assert shape == [mask.sum(), y.sum(), x.sum(), border.sum()]


def square(left, top=10, side=4):
    mask = np.zeros((40, 50), bool)
    mask[top : top + side, left : left + side] = True
    return [mask]


def test_attributes_of_a_track():
    """Moves 3 pixels a frame, is gone for a frame, comes back at the border."""
    track = [square(10), square(13), square(13, side=0), square(19), square(46, top=19)]
    shapes = describe(track)
    assert object_size(shapes[:, 0], np.full(5, 2000)) == pytest.approx(16 / 2000)
    values = dict(zip(SHAPE_ATTRIBUTES, track_attributes(shapes, np.arange(5)), strict=True))
    assert values["motion"] == pytest.approx((3 + 6 / 2 + np.hypot(27, 9)) / 3)
    assert (values["disappears"], values["track_length"], values["touches_border"]) == (1, 5, 0.25)


def test_an_object_that_is_never_there_has_no_attributes():
    shapes = describe([square(0, side=0)])
    assert object_size(shapes[:, 0], np.array([2000])) is None
    assert track_attributes(shapes, np.array([0])) == [None] * len(SHAPE_ATTRIBUTES)
