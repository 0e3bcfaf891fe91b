"""Follow one object through windows that share frames: choose the query that continues it, average shared frames.

Windows are segmented independently, and nothing makes the same query answer in the next one. A window is linked to the
previous ones by what its queries look like (query embeddings, as in MinVIS, Huang et al., NeurIPS 2022) and by how
their masks overlap in the shared frames (as in STEm-Seg, Athar et al., ECCV 2020).

Shapes: T frames of a window, S of them seen before, F any frames, Q queries, K classes, C channels, h x w of the mask
logits. Positions count the frames of a video's sequence from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from model.referformer.inference.postprocess import query_scores

APPEARANCE_WEIGHT, MASK_WEIGHT = 0.5, 0.5  # of full agreement, relative to a score of 0 to 1
HIDDEN = 0.5  # an object counts as hidden in a frame whose score is below this share of the windows' confidence


@dataclass(frozen=True)
class OverlapAverage:
    """Answers in some frames, each the weighted mean over the windows that saw the frame.

    A later window weighs as much as its mask agrees with the mean before it. If it took another object there, it
    changes nothing: the mean of two objects would be both or none.
    """

    positions: tuple[int, ...]  # F, ascending
    windows: Tensor  # float [F], sum of the windows' weights
    logits: Tensor  # float [F, h, w], of the masks
    scores: Tensor  # float [F], probabilities
    boxes: Tensor  # float [F, 4]

    @classmethod
    def of_window(cls, positions: Sequence[int], logits: Tensor, scores: Tensor, boxes: Tensor) -> Self:
        """Take the answers of one window; kept in float32 whatever the model computes in."""
        logits, scores, boxes = logits.float(), scores.float(), boxes.float()
        return cls(tuple(positions), torch.ones_like(scores), logits, scores, boxes)

    def add(self, earlier: Self) -> Self:
        """Return the same frames, averaged with the answers of earlier windows."""
        shared = sorted({*self.positions} & {*earlier.positions})
        if not shared:
            return self
        rows = [self.positions.index(position) for position in shared]
        new, old = self.at(shared), earlier.at(shared).to(self.logits.device)
        new_mask, old_mask = new.logits > 0, old.logits > 0
        common, either = (x.flatten(1).sum(1) for x in (old_mask & new_mask, old_mask | new_mask))
        added = new.windows * torch.where(either > 0, common / either.clamp(min=1), 1.0)  # IoU; 1 if both are empty
        windows = old.windows + added
        weight = added / windows
        averaged = (
            windows,
            torch.lerp(old.logits, new.logits, weight[:, None, None]),
            torch.lerp(old.scores, new.scores, weight),
            torch.lerp(old.boxes, new.boxes, weight[:, None]),
        )
        result = [x.clone() for x in self._tensors()]
        for x, part in zip(result, averaged, strict=True):
            x[rows] = part
        return type(self)(self.positions, *result)

    def join(self, later: Self) -> Self:
        """Append the frames of `later`."""
        pairs = zip(self._tensors(), later._tensors(), strict=True)
        return type(self)(self.positions + later.positions, *(torch.cat(pair) for pair in pairs))

    def at(self, positions: Sequence[int]) -> Self:
        """Select the frames at `positions`, all of which must be present."""
        index = torch.tensor([self.positions.index(position) for position in positions], dtype=torch.long)
        return type(self)(tuple(positions), *(x[index.to(x.device)] for x in self._tensors()))

    def since(self, start: int) -> Self:
        """Select the frames at position `start` and after it."""
        return self.at([position for position in self.positions if position >= start])

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.positions, *(x.to(device) for x in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.windows, self.logits, self.scores, self.boxes


@dataclass(frozen=True)
class TrackState:
    """State of one sentence's object between two windows, in host memory: the device holds one window only."""

    appearance: Tensor  # float32 [C], of the queries chosen so far; its length, up to 1, is their confidence
    overlap: OverlapAverage  # frames that a later window sees again


def query_embeddings(hidden: Tensor, logits: Tensor) -> Tensor:
    """Describe each query of a window: hidden [T, Q, C], logits [T, Q, K] -> [Q, C] of length 1; zeros if Q is 1.

    The mean embedding over the frames, weighted by the query's score in the frame since a hidden object leaves no trace
    in it. The mean over all queries is subtracted: it holds the sentence, which all queries share.
    """
    weights = logits.float().sigmoid().amax(-1)
    means = (hidden.float() * weights[..., None]).sum(0) / weights.sum(0).clamp(min=1e-6)[:, None]
    return F.normalize(means - means.mean(0), dim=-1)


def mask_agreement(before: OverlapAverage, masks: Tensor, confidence: float) -> Tensor:
    """Compare each query's masks [S, Q, h, w] (logits) with those of the S frames `before`: [Q], 0 to 1.

    Soft IoU over all S frames together (Tanimoto's form, equal to IoU for hard masks), times the mean belief that the
    object is visible. Belief is the frame's score, or 0 if its mask is empty or the score below half of `confidence`,
    the score of the windows so far; frames are weighted by it. An object hidden in the shared frames thus decides
    nothing there, where its mask may have slipped onto the object in front.
    """
    belief = before.scores * (before.logits > 0).flatten(1).any(1) * (before.scores >= HIDDEN * confidence)  # [S]
    new, old = masks.float().sigmoid(), before.logits.sigmoid()[:, None]
    common = (old * new).sum((-2, -1))
    either = old.square().sum((-2, -1)) + new.square().sum((-2, -1)) - common
    iou = (belief @ common) / (belief @ either)
    return (belief.mean() * iou).nan_to_num(0.0)


def link_query(logits: Tensor, embeddings: Tensor, appearance: Tensor, agreement: Tensor | None) -> int:
    """Choose the query that continues an object: logits [T, Q, K], embeddings [Q, C], appearance [C], agreement [Q].

    The highest sum of three numbers, all between 0 and 1 before weighting:

        score of the query in this window (the published rule, and the only one in a first window)
        + 0.5 * cosine of its embedding with the appearance so far, times the confidence of that; 0 below 0
        + 0.5 * agreement of the masks in the shared frames (`mask_agreement`); 0 for None

    Agreement counts in proportion to the confidence of the previous windows. It settles near-ties, as between two
    similar objects, while a query with a far better score takes over and a bad start is not kept for ever.
    """
    total = query_scores(logits.float()) + APPEARANCE_WEIGHT * (embeddings @ appearance).clamp(min=0)
    if agreement is not None:
        total = total + MASK_WEIGHT * agreement
    return int(total.argmax())


def update_appearance(appearance: Tensor | None, chosen: Tensor, score: Tensor | float) -> Tensor:
    """Add the embedding [C] of one more window's query; each new window halves the weight of the older ones."""
    new = chosen * score
    return new if appearance is None else (appearance + new) / 2
