"""One object through windows that share frames: which query goes on with it, and what the shared frames become.

Each window sees its frames anew, and nothing makes the same query answer in the next one. A window is tied to those
before it by what its queries look like (query embeddings, as in MinVIS, Huang et al., NeurIPS 2022) and by where their
masks lie in the shared frames (as in STEm-Seg, Athar et al., ECCV 2020).

Shapes: T frames of a window, S of them seen before, F any frames, Q queries, K classes, C channels, h x w of the mask
logits. Places count the frames of a video's sequence from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from model.referformer.inference.postprocess import query_scores

LOOK, PLACE = 0.5, 0.5  # what full agreement is worth, beside a score of 0 to 1
HIDDEN = 0.5  # an object counts as hidden in a frame whose score is less than this part of what its windows gave it


@dataclass(frozen=True)
class OverlapAverage:
    """Answers in some frames, each the mean over the windows that saw it.

    A later window counts in a frame as far as its mask lies on what was said before. One that has taken something else
    there changes nothing: the mean of two objects would be both or none.
    """

    places: tuple[int, ...]  # F, ascending
    windows: Tensor  # float [F], how many are in it, each as far as it counts
    logits: Tensor  # float [F, h, w], of the masks
    scores: Tensor  # float [F], probabilities
    boxes: Tensor  # float [F, 4]

    @classmethod
    def of_window(cls, places: Sequence[int], logits: Tensor, scores: Tensor, boxes: Tensor) -> Self:
        """What one window says; in float32, whatever the model computes in."""
        logits, scores, boxes = logits.float(), scores.float(), boxes.float()
        return cls(tuple(places), torch.ones_like(scores), logits, scores, boxes)

    def add(self, earlier: Self) -> Self:
        """The same frames, with what earlier windows said of them."""
        shared = sorted({*self.places} & {*earlier.places})
        if not shared:
            return self
        there = [self.places.index(place) for place in shared]
        mine, theirs = self.at(shared), earlier.at(shared).to(self.logits.device)
        count = mine.windows * _agreement(theirs.logits > 0, mine.logits > 0)
        windows = theirs.windows + count
        weight = count / windows
        blended = (
            windows,
            torch.lerp(theirs.logits, mine.logits, weight[:, None, None]),
            torch.lerp(theirs.scores, mine.scores, weight),
            torch.lerp(theirs.boxes, mine.boxes, weight[:, None]),
        )
        whole = [x.clone() for x in self._tensors()]
        for x, part in zip(whole, blended, strict=True):
            x[there] = part
        return type(self)(self.places, *whole)

    def join(self, later: Self) -> Self:
        """These frames and then those of `later`."""
        pairs = zip(self._tensors(), later._tensors(), strict=True)
        return type(self)(self.places + later.places, *(torch.cat(pair) for pair in pairs))

    def at(self, places: Sequence[int]) -> Self:
        """Those of the frames that are at `places`, all of which must be there."""
        index = torch.tensor([self.places.index(place) for place in places], dtype=torch.long)
        return type(self)(tuple(places), *(x[index.to(x.device)] for x in self._tensors()))

    def since(self, place: int) -> Self:
        """Those of the frames that are at `place` or behind it."""
        return self.at([one for one in self.places if one >= place])

    def to(self, device: torch.device | str) -> Self:
        return type(self)(self.places, *(x.to(device) for x in self._tensors()))

    def _tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.windows, self.logits, self.scores, self.boxes


def _agreement(one: Tensor, other: Tensor) -> Tensor:
    """IoU of two masks in each frame, bool [S, h, w] -> [S]; 1 where both are empty."""
    common, either = (one & other).flatten(1).sum(1), (one | other).flatten(1).sum(1)
    return torch.where(either > 0, common / either.clamp(min=1), 1.0)


@dataclass(frozen=True)
class Track:
    """What one sentence's object carries from window to window. On the host: the device holds one window only."""

    look: Tensor  # float32 [C], of the chosen queries so far; its length, up to 1, is how sure they were
    seam: OverlapAverage  # frames that a later window sees again


def query_embeddings(hidden: Tensor, logits: Tensor) -> Tensor:
    """What each query of a window looks like: hidden [T, Q, C], logits [T, Q, K] -> [Q, C] of length 1.

    The mean embedding over the frames, each counted by the query's score in it, since a hidden object leaves no trace
    in its frame. What all queries have in common, most of all the sentence, is taken off. For one query, zeros.
    """
    weights = logits.float().sigmoid().amax(-1)
    means = (hidden.float() * weights[..., None]).sum(0) / weights.sum(0).clamp(min=1e-6)[:, None]
    return F.normalize(means - means.mean(0), dim=-1)


def agreement_in_place(before: OverlapAverage, masks: Tensor, sure: float) -> Tensor:
    """How well each query's masks [S, Q, h, w] (logits) lie on those of the S frames `before`: [Q], 0 to 1.

    Soft IoU over all S frames together (Tanimoto's form, equal to IoU for hard masks), times the belief that there is
    something to lie on: the mean over the frames of the score, 0 where the mask is empty or the score below half of
    `sure`, how sure the windows so far were. Frames count by the same belief. So an object that is hidden in the shared
    frames decides nothing there, where its mask may have slipped onto the one in front.
    """
    belief = before.scores * (before.logits > 0).flatten(1).any(1) * (before.scores >= HIDDEN * sure)  # [S]
    mine, theirs = before.logits.sigmoid()[:, None], masks.float().sigmoid()
    common = (mine * theirs).sum((-2, -1))
    either = mine.square().sum((-2, -1)) + theirs.square().sum((-2, -1)) - common
    overlap = (belief @ common) / (belief @ either)
    return (belief.mean() * overlap).nan_to_num(0.0)


def link_query(logits: Tensor, looks: Tensor, look: Tensor, in_place: Tensor | None) -> int:
    """The query of a window that goes on with an object: logits [T, Q, K], looks [Q, C], look [C], in_place [Q].

    The highest sum of three numbers, all between 0 and 1 before they are weighed:

        score of the query in this window (the published rule, and the only one in a first window)
        + 0.5 * cosine of its look with the look so far, times how sure that was; 0 below 0
        + 0.5 * agreement of the masks in the shared frames, as `agreement_in_place`; 0 for None

    Agreement counts as far as the windows before were sure of themselves. So it settles what the score leaves open, as
    between two like objects, while a query that is better by far takes over and a bad start is not kept for ever.
    """
    total = query_scores(logits.float()) + LOOK * (looks @ look).clamp(min=0)
    if in_place is not None:
        total = total + PLACE * in_place
    return int(total.argmax())


def update_appearance(look: Tensor | None, chosen: Tensor, score: Tensor | float) -> Tensor:
    """The look so far [C] with that of one more window's query; older windows count half as much with each new one."""
    new = chosen * score
    return new if look is None else (look + new) / 2
