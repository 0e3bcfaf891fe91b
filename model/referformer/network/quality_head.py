"""Quality head: does the sentence mean something in the clip, and how good are the masks of one query if it does?

Not in the paper. As the IoU heads of Mask Scoring R-CNN (Huang et al., CVPR 2019) it reads features under the predicted
mask. Everything that it reads is detached: training it changes no mask.

Shapes: B clips, T frames, C channels of the model, h x w of the masks at the finest stride.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.referformer.network.mlp import MLP

STATISTICS = 5  # numbers of `mask_statistics`
UNSURE = (0.1, 0.9)  # probabilities between which a pixel counts as unsure


class Rating(NamedTuple):
    """Predictions of the head, logits [B]. Both together give the expected IoU, which is 0 if nothing is meant."""

    presence: Tensor  # probability that the sentence means something
    iou: Tensor  # mean IoU of the masks with the object that it means, if there is one

    def quality(self) -> Tensor:
        """Return the expected IoU [B]."""
        return self.presence.sigmoid() * self.iou.sigmoid()


class QualityHead(nn.Module):
    """A perceptron on the sentence, the pixel features under the mask and in the whole frame, and mask statistics.

    It also reads the product of the sentence and the features under the mask, each projected: do they agree?
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.under_norm = nn.LayerNorm(dim)
        self.frame_norm = nn.LayerNorm(dim)
        self.sentence_projection = nn.Linear(dim, dim)
        self.under_projection = nn.Linear(dim, dim)
        self.mlp = MLP(4 * dim + 2 * STATISTICS, hidden_dim, 2, 3)

    def forward(self, sentence: Tensor, pixels: Tensor, masks: Tensor) -> Rating:
        """sentence [B, C]; pixels [(B T), C, h, w], as `Decoding.pixels`; masks [B, T, h, w], logits of one query."""
        sentence, pixels, masks = (x.detach().float() for x in (sentence, pixels, masks))
        pixels = pixels.unflatten(0, masks.shape[:2])
        chance = masks.sigmoid()
        under = torch.einsum("bthw,btchw->bc", chance, pixels) / chance.sum((1, 2, 3)).clamp(min=1e-6)[:, None]
        under = self.under_norm(under)
        statistics = mask_statistics(chance)
        features = (
            sentence,
            under,
            self.sentence_projection(sentence) * self.under_projection(under),
            self.frame_norm(pixels.mean((1, 3, 4))),
            statistics.mean(1),
            statistics.amin(1),
        )
        return Rating(*self.mlp(torch.cat(features, dim=-1)).unbind(-1))


def mask_statistics(chance: Tensor) -> Tensor:
    """Describe each mask by numbers from 0 to 1: probabilities [B, T, h, w] -> [B, T, STATISTICS].

    Whether the mask has a pixel, the root of its share of the frame, its mean probability, the share of unsure pixels
    among those of the mask or unsure, and the overlap with the mask of the frame before (of the first frame: 1).
    """
    mask = chance > 0.5
    area = mask.sum((-2, -1))
    unsure = (chance > UNSURE[0]) & (chance < UNSURE[1])
    common, either = ((mask[:, 1:] & mask[:, :-1]).sum((-2, -1)), (mask[:, 1:] | mask[:, :-1]).sum((-2, -1)))
    overlap = torch.where(either > 0, common / either.clamp(min=1), 1.0)
    return torch.stack(
        (
            (area > 0).float(),
            (area / mask[0, 0].numel()).sqrt(),
            (chance * mask).sum((-2, -1)) / area.clamp(min=1),
            unsure.sum((-2, -1)) / (mask | unsure).sum((-2, -1)).clamp(min=1),
            torch.cat((overlap.new_ones(len(overlap), 1), overlap), dim=1),
        ),
        dim=-1,
    )
