"""Turn the model's output into answers, as the published inference scripts.

Shapes: T frames, Q queries, K classes, O objects, h x w of the mask logits, H x W of the displayed frame.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

DAVIS_BACKGROUND = 0.1


def query_scores(logits: Tensor) -> Tensor:
    """Score each query: logits [T, Q, K] -> [Q], mean probability over the frames of the best class."""
    return logits.sigmoid().mean(0).amax(-1)


def choose_query(logits: Tensor) -> int:
    """Choose the query that answers for all frames of a window; logits [T, Q, K]."""
    return int(query_scores(logits).argmax())


def query_margin(logits: Tensor, query: int) -> float | None:
    """Return the score of `query` minus that of the best other one; None without another."""
    scores = query_scores(logits)
    others = torch.cat((scores[:query], scores[query + 1 :]))
    return float(scores[query] - others.max()) if len(others) else None


def resize_logits(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, h, w] -> [N, H, W], bilinear, corners not aligned; before the sigmoid, as published."""
    return F.interpolate(logits[None], size, mode="bilinear")[0]


def displayed_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """cx, cy, w, h in 0..1 -> x, y, w, h in pixels of a frame of `size` = (H, W); [..., 4]."""
    height, width = size
    corner = boxes[..., :2] - boxes[..., 2:] / 2
    scale = torch.tensor((width, height, width, height), dtype=boxes.dtype, device=boxes.device)
    return torch.cat((corner, boxes[..., 2:]), dim=-1) * scale


def merge_objects(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Ref-DAVIS17: logits [O, T, H, W], one row per object -> ids int16 [T, H, W], 0 for background.

    An object counts where its probability is `threshold` or more; the most probable one wins, and of equally probable
    ones the first.
    """
    probability = logits.sigmoid()
    probability = torch.where(probability < threshold, 0.0, probability)
    background = torch.full_like(probability[:1], DAVIS_BACKGROUND)
    return torch.cat((background, probability)).argmax(0).to(torch.int16)


def a2d_masks(logits: Tensor, input_size: tuple[int, int], size: tuple[int, int], threshold: float = 0.5) -> Tensor:
    """A2D-Sentences and JHMDB-Sentences: all queries of one frame, logits [Q, h, w] -> bool [Q, H, W].

    Logits at four times their size are cut at `threshold`, then cropped to `input_size`, the model input without
    padding, and resized by nearest sampling.
    """
    whole = resize_logits(logits, (4 * logits.shape[-2], 4 * logits.shape[-1])).sigmoid() > threshold
    cropped = whole[:, : input_size[0], : input_size[1]]
    return F.interpolate(cropped[None].float(), size)[0].bool()
