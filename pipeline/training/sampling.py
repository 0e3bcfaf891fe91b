"""Choose the frames of training clips, and the order of the clips."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

NEAREST, FARTHEST = 1, 3  # distance of the two local frames from the anchor


def clip_frames(count: int, anchor: int, length: int, rng: np.random.Generator) -> list[int]:
    """Choose `length` of `count` frames as published: `anchor`, two neighbours, the rest anywhere; in ascending order.

    Frames repeat at the ends of a video, and in a video that is shorter than the clip.
    """
    if length == 1:
        return [anchor]
    before, after = rng.integers(NEAREST, FARTHEST + 1, 2).tolist()
    near = sorted((max(0, anchor - before), anchor, min(count - 1, anchor + after)))
    if length <= 3:
        return near[:length]
    wanted = length - 3
    pool = [*range(near[0]), *range(near[2], count)]  # includes the last local frame again, as published
    if len(pool) <= wanted:
        pool = list(range(count))
    drawn = rng.choice(pool, min(wanted, len(pool)), replace=False).tolist()
    more = wanted - len(drawn)
    drawn += rng.choice(count, more, replace=more > count).tolist()
    return sorted(near + drawn)


def consecutive_frames(count: int, anchor: int, length: int, rng: np.random.Generator) -> list[int]:
    """Choose `length` consecutive frames of `count`, `anchor` among them, like the windows of `rvos segment`.

    The last frame repeats if the video is shorter.
    """
    earliest, latest = max(0, anchor - length + 1), min(anchor, max(0, count - length))
    start = int(rng.integers(min(earliest, latest), latest + 1))
    return [min(start + i, count - 1) for i in range(length)]


class Anchor(NamedTuple):
    """One training sample: an example, and a position in its list of annotated frames."""

    example: int
    frame: int


def anchors(annotated: int, step: int) -> range:
    """Return the positions of the clips of one example: each `step`-th annotated frame."""
    return range(0, annotated, step)


def epoch_order(
    sources: Sequence[Sequence[Anchor]], weights: Sequence[float] | None, rng: np.random.Generator
) -> list[Anchor]:
    """Return the samples of one epoch, shuffled, as many as all sources have together.

    Without weights each sample occurs once. With weights, each source fills its share of the epoch with its samples in
    random order, in several rounds if needed.
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
    """Yield positions in `order`, `size` at a time. Drops incomplete batches at the end.

    alone: True for examples whose clips have one frame with a target. These clips are in batches of their own, since
    the model predicts one frame of them and all frames of the others.
    """
    waiting: dict[bool, list[int]] = defaultdict(list)
    for position, anchor in enumerate(order):
        batch = waiting[alone[anchor.example]]
        batch.append(position)
        if len(batch) == size:
            yield list(batch)
            batch.clear()
