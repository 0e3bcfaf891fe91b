"""Which frames make a training clip, and in what order the clips come."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

NEAREST, FARTHEST = 1, 3  # how far the two local frames lie from the anchor


def clip_frames(count: int, anchor: int, length: int, rng: np.random.Generator) -> list[int]:
    """`length` of `count` frames around `anchor`, ascending, as published: neighbours near it, the rest from anywhere.

    Frames repeat at the ends of a video and in one that is shorter than the clip.
    """
    if length == 1:
        return [anchor]
    before, after = rng.integers(NEAREST, FARTHEST + 1, 2).tolist()
    near = sorted((max(0, anchor - before), anchor, min(count - 1, anchor + after)))
    if length <= 3:
        return near[:length]
    wanted = length - 3
    pool = [*range(near[0]), *range(near[2], count)]  # the last local frame is in it again, as published
    if len(pool) <= wanted:
        pool = list(range(count))
    drawn = rng.choice(pool, min(wanted, len(pool)), replace=False).tolist()
    drawn += rng.choice(count, wanted - len(drawn)).tolist()
    return sorted(near + drawn)


def consecutive_frames(count: int, anchor: int, length: int, rng: np.random.Generator) -> list[int]:
    """`length` of `count` frames in a row, `anchor` among them: what a model meets that is given whole videos.

    In a shorter video its last frame repeats.
    """
    earliest, latest = max(0, anchor - length + 1), min(anchor, max(0, count - length))
    start = int(rng.integers(min(earliest, latest), latest + 1))
    return [min(start + i, count - 1) for i in range(length)]


class Anchor(NamedTuple):
    """One training sample: an example, and where in its list of annotated frames the clip is taken."""

    example: int
    frame: int


def anchors(annotated: int, length: int) -> range:
    """Where the clips of one example start: at each `length`-th annotated frame."""
    return range(0, annotated, length)


def epoch_order(
    sources: Sequence[Sequence[Anchor]], weights: Sequence[float] | None, rng: np.random.Generator
) -> list[Anchor]:
    """The samples of one epoch, shuffled; as many as all sources have together.

    Without weights each comes once. With weights, a source has its share of the epoch: its samples in random order,
    again from the start when they are used up.
    """
    total = sum(map(len, sources))
    shares = [len(samples) for samples in sources]
    if weights is not None:
        shares = [round(total * weight / sum(weights)) for weight in weights]
    chosen: list[Anchor] = []
    for samples, share in zip(sources, shares, strict=True):
        rounds = -(-share // len(samples))
        picked = np.concatenate([rng.permutation(len(samples)) for _ in range(rounds)]) if rounds else []
        chosen += [samples[i] for i in picked[:share]]
    return [chosen[i] for i in rng.permutation(len(chosen))]


def batches(order: Sequence[Anchor], alone: Sequence[bool], size: int) -> Iterator[list[int]]:
    """Positions in `order`, `size` at a time, as they come. Incomplete batches at the end are dropped.

    `alone` says of each example whether only one frame of it is annotated: such clips have their own batches, since
    the model gives one frame of them and all frames of the others.
    """
    waiting: dict[bool, list[int]] = defaultdict(list)
    for position, anchor in enumerate(order):
        batch = waiting[alone[anchor.example]]
        batch.append(position)
        if len(batch) == size:
            yield list(batch)
            batch.clear()
