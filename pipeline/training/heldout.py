"""Score a model in training on examples that it does not learn from: J, F and J&F, means over pairs."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import pyarrow as pa
import torch

from model.referformer.inference.segmenter import ReferFormerSegmenter, windows
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import Tokenizer
from model.segmenter import Segmenter
from pipeline.evaluation.metrics import count_pixels
from pipeline.evaluation.metrics.pair_metrics import j_and_f
from pipeline.training.recipe import Recipe
from pipeline.video import Selection, read_frames
from schemas import rle

WINDOW = 36  # frames of one model call, as `rvos segment` has it


def heldout_scores(
    model: ReferFormer, tokenizer: Tokenizer, examples: pa.Table, recipe: Recipe, rank: int = 0, world: int = 1
) -> dict[str, float]:
    """J, F, J&F and pairs over EXAMPLES; each process scores its share, and all get the result.

    The model is put back into training mode. Raises MediaError if a video cannot be read.
    """
    device = next(model.parameters()).device
    segmenter = ReferFormerSegmenter(
        model, tokenizer, device=str(device), short_side=recipe.short_side, max_size=recipe.max_size
    )
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    try:
        for pairs in _by_video(examples, rank, world):
            for example, counts in zip(pairs, _segment(segmenter, pairs), strict=True):
                j, f = _score(example, counts)
                sums += torch.tensor([j, f, 1.0], dtype=torch.float64, device=device)
    finally:
        model.train()
    if world > 1:
        torch.distributed.all_reduce(sums)
    j, f, pairs = sums.tolist()
    return {"J&F": (j + f) / 2 / pairs, "J": j / pairs, "F": f / pairs, "pairs": int(pairs)}


def _by_video(examples: pa.Table, rank: int, world: int) -> Iterator[list[dict]]:
    """The examples of this process, those of the same frames together."""
    groups = groupby(
        sorted(examples.to_pylist(), key=lambda row: (row["video_uri"], row["frames"])),
        key=lambda row: (row["video_uri"], row["frames"]),
    )
    for number, (_, rows) in enumerate(groups):
        if number % world == rank:
            yield list(rows)


def _segment(segmenter: Segmenter, pairs: list[dict]) -> list[dict[int, bytes]]:
    """For each pair, RLE by frame."""
    first = pairs[0]
    size = first["height"], first["width"]
    found: list[dict[int, bytes]] = [{} for _ in pairs]
    frames = [
        (frame.index, segmenter.prepare(frame.image))
        for frame in read_frames(first["video_uri"], Selection(indices=tuple(first["frames"])))
    ]
    for window in windows(len(frames), WINDOW):
        indices, images = zip(*frames[window.start : window.stop], strict=True)
        answers = segmenter.segment(images, size, [pair["expression"] for pair in pairs])
        for masks, answer in zip(found, answers, strict=True):
            masks.update(zip(indices, rle.encode(answer.masks), strict=True))
    return found


def _score(example: dict, predicted: dict[int, bytes]) -> tuple[float, float]:
    """J and F of one pair, means over its annotated frames."""
    annotated = example["annotated"]
    truth = [counts for counts in example["counts"] if counts is not None]
    strings = [*truth, *(predicted[index] for index in annotated)]
    present = [counts is not None for counts in example["counts"]]
    first = np.cumsum([0, *present], dtype=np.int64)
    count = len(annotated)
    counts, errors = count_pixels.score_frames(
        np.frombuffer(b"".join(strings), np.uint8),
        np.cumsum([0, *map(len, strings)], dtype=np.int64),
        first,
        np.arange(len(truth), dtype=np.int64),
        np.arange(len(truth), len(strings), dtype=np.int64),
        np.full(count, -1, np.int64),
        np.full(count, example["height"], np.int64),
        np.full(count, example["width"], np.int64),
    )
    assert not errors.any(), "masks were checked before"
    j, f = j_and_f(counts)
    return float(j.mean()), float(f.mean())
