"""Frames of a clip, order of an epoch, batches."""

from collections import Counter

import numpy as np
import pytest

from pipeline.training.sampling import Anchor, anchors, batches, clip_frames, consecutive_frames, epoch_order


class Fixed:
    """A generator whose two local distances are 2 and 3; the rest is drawn."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.pools: list[list[int]] = []

    def integers(self, *_: int) -> np.ndarray:
        return np.array([2, 3])

    def choice(self, pool, count: int, replace: bool = True) -> np.ndarray:
        self.pools.append(list(range(pool)) if isinstance(pool, int) else list(pool))
        return self.rng.choice(self.pools[-1], count, replace=replace)


@pytest.mark.parametrize(
    ("count", "anchor", "length", "near", "pool"),
    [
        (20, 10, 5, [8, 10, 13], [*range(8), *range(13, 20)]),
        (20, 0, 5, [0, 0, 3], list(range(3, 20))),
        (6, 5, 5, [3, 5, 5], [0, 1, 2, 5]),
        (4, 0, 5, [0, 0, 3], list(range(4))),
        (6, 0, 6, [0, 0, 3], list(range(6))),
    ],
)
def test_frames_follow_the_published_table(count, anchor, length, near, pool):
    rng = Fixed()
    frames = clip_frames(count, anchor, length, rng)  # pyright: ignore[reportArgumentType]
    assert len(frames) == length
    assert frames == sorted(frames)
    assert not Counter(near) - Counter(frames)
    assert rng.pools[0] == pool


@pytest.mark.parametrize("length", range(1, 9))
@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_every_clip_is_whole_and_inside(count, length):
    rng = np.random.default_rng(1)
    for anchor in range(count):
        frames = clip_frames(count, anchor, length, rng)
        assert len(frames) == length
        assert all(0 <= frame < count for frame in frames)


def test_two_frames_are_an_earlier_one_and_the_anchor():
    assert clip_frames(20, 10, 2, Fixed()) == [8, 10]  # pyright: ignore[reportArgumentType]


def test_anchors_are_each_length_apart():
    assert list(anchors(11, 5)) == [0, 5, 10]


SOURCES = [[Anchor(0, i) for i in range(6)], [Anchor(1, i) for i in range(2)]]


def test_without_weights_each_sample_comes_once():
    order = epoch_order(SOURCES, None, np.random.default_rng(0))
    assert sorted(order) == sorted(SOURCES[0] + SOURCES[1])
    assert order == epoch_order(SOURCES, None, np.random.default_rng(0))


def test_weights_give_each_source_its_share():
    order = epoch_order(SOURCES, [1, 3], np.random.default_rng(0))
    counts = Counter(anchor.example for anchor in order)
    assert counts == {0: 2, 1: 6}
    assert set(Counter(order).values()) <= {1, 3}  # a small source comes round again, evenly


def test_batches_do_not_mix_what_cannot_be_mixed():
    order = [Anchor(i % 2, i) for i in range(7)]
    found = list(batches(order, [False, True], 2))
    assert found == [[0, 2], [1, 3], [4, 6]]


@pytest.mark.parametrize(("count", "length"), [(12, 8), (8, 8), (5, 8), (1, 3)])
def test_consecutive_frames_hold_their_anchor(count, length):
    rng = np.random.default_rng(0)
    for anchor in range(count):
        for _ in range(20):
            frames = consecutive_frames(count, anchor, length, rng)
            assert len(frames) == length
            assert anchor in frames
            assert frames == [min(frames[0] + i, count - 1) for i in range(length)]
            assert frames[0] >= 0
