"""Score a model in training on held-out examples: mean J, F and J&F over pairs."""

from itertools import groupby, islice
from operator import itemgetter

import numpy as np
import pyarrow as pa
import torch

from model.referformer.inference.segmenter import ReferFormerSegmenter
from model.referformer.network.referformer import ReferFormer
from model.referformer.tokenizer import Tokenizer
from model.segmenter import Segmenter
from pipeline.evaluation.metrics import count_pixels
from pipeline.evaluation.metrics.pair_metrics import j_and_f
from pipeline.training.recipe import Recipe
from pipeline.video import Selection, read_frames
from schemas import rle

WINDOW = 36  # frames per model call, the default of `rvos segment`


def heldout_scores(
    model: ReferFormer, tokenizer: Tokenizer, examples: pa.Table, recipe: Recipe, rank: int = 0, world: int = 1
) -> dict[str, float]:
    """Return J, F, J&F and the number of pairs of EXAMPLES. Each process scores its share; all get the same result.

    Sets the model back to training mode. Raises MediaError if a video cannot be read.
    """
    device = next(model.parameters()).device
    segmenter = ReferFormerSegmenter(
        model, tokenizer, device=str(device), short_side=recipe.short_side, max_size=recipe.max_size
    )
    frames_of = itemgetter("video_uri", "frames")  # pairs of the same frames are segmented together
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    try:
        rows = sorted(examples.to_pylist(), key=frames_of)
        for _, group in islice(groupby(rows, key=frames_of), rank, None, world):
            pairs = list(group)
            for example, counts in zip(pairs, _segment(segmenter, pairs), strict=True):
                j, f = _score(example, counts)
                sums += torch.tensor([j, f, 1.0], dtype=torch.float64, device=device)
    finally:
        model.train()
    if world > 1:
        torch.distributed.all_reduce(sums)
    j, f, pairs = sums.tolist()
    return {"J&F": (j + f) / 2 / pairs, "J": j / pairs, "F": f / pairs, "pairs": int(pairs)}


def _segment(segmenter: Segmenter, pairs: list[dict]) -> list[dict[int, bytes]]:
    """Segment the pairs of one video; return the RLE of each pair by frame."""
    first = pairs[0]
    size = first["height"], first["width"]
    found: list[dict[int, bytes]] = [{} for _ in pairs]
    frames = [
        (frame.index, segmenter.prepare(frame.image))
        for frame in read_frames(first["video_uri"], Selection(indices=tuple(first["frames"])))
    ]
    for start in range(0, len(frames), WINDOW):
        indices, images = zip(*frames[start : start + WINDOW], strict=True)
        answers = segmenter.segment(images, size, [pair["expression"] for pair in pairs])
        for masks, answer in zip(found, answers, strict=True):
            masks.update(zip(indices, rle.encode(answer.masks), strict=True))
    return found


def _score(example: dict, predicted: dict[int, bytes]) -> tuple[float, float]:
    """Return the mean J and F of one pair over its annotated frames."""
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
    assert not errors.any(), "gather_examples has checked all masks"
    j, f = j_and_f(counts)
    return float(j.mean()), float(f.mean())
