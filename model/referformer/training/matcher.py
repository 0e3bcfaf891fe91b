"""Sequence matching: choose the one query that answers in all frames of a clip (ReferFormer, section 3.5).

Shapes: B clips, T frames, Q queries, K classes, h x w pixels of the masks.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.referformer.network.referformer import Prediction
from model.referformer.training.targets import Targets, generalised_iou

ALPHA, GAMMA = 0.25, 2  # of the focal loss (Lin et al. 2017)


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """Weights of the five terms, in the matching and in the loss alike."""

    classes: float = 2.0
    boxes: float = 5.0
    giou: float = 2.0
    masks: float = 2.0
    dice: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Five tensors of one shape, before the coefficients."""

    classes: Tensor
    boxes: Tensor
    giou: Tensor
    masks: Tensor
    dice: Tensor

    def total(self, coefficients: Coefficients) -> Tensor:
        """Return the weighted sum of the terms."""
        return (
            coefficients.classes * self.classes
            + coefficients.boxes * self.boxes
            + coefficients.giou * self.giou
            + coefficients.masks * self.masks
            + coefficients.dice * self.dice
        )


def match(prediction: Prediction, targets: Targets, coefficients: Coefficients) -> Tensor:
    """Return the query of least cost in each clip, [B] int64; without an object, the query of the highest score."""
    costs = matching_costs(prediction, targets).total(coefficients)
    surest = -prediction.logits.detach().float().sigmoid().mean(1).amax(-1)
    return torch.where(targets.meant[:, None], costs, surest).argmin(-1)


@torch.no_grad()
def matching_costs(prediction: Prediction, targets: Targets) -> Terms:
    """Compute the costs, [B, Q] each: class in frames where the object is present, boxes and masks in all frames."""
    boxes, wanted = prediction.boxes.float(), targets.boxes[:, :, None].expand_as(prediction.boxes)
    logits = prediction.masks.float().transpose(1, 2).flatten(2)  # [B, Q, T h w]
    masks = targets.masks_at(*prediction.masks.shape[-2:]).flatten(1)[:, None].expand_as(logits)
    return Terms(
        classes=_class_cost(prediction.logits.float(), targets),
        boxes=(boxes - wanted).abs().sum(-1).mean(1),
        giou=-generalised_iou(boxes, wanted).mean(1),
        masks=focal_loss(logits, masks).mean(-1),
        dice=-dice(logits, masks),
    )


def focal_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """Compute the focal loss of each logit; `wanted` is 0 or 1."""
    chance = logits.sigmoid()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    wrong = chance * (1 - wanted) + (1 - chance) * wanted
    return (ALPHA * wanted + (1 - ALPHA) * (1 - wanted)) * wrong**GAMMA * entropy


def dice(logits: Tensor, wanted: Tensor) -> Tensor:
    """Compute the soft overlap over the last axis, up to 1 (Milletari et al. 2016); the 1s keep empty masks finite."""
    chance = logits.sigmoid()
    return (2 * (chance * wanted).sum(-1) + 1) / (chance.sum(-1) + wanted.sum(-1) + 1)


def wanted_classes(logits: Tensor, targets: Targets) -> Tensor:
    """Return the class of each frame, [B, T] int64: always 0 for a model with one class."""
    return torch.zeros_like(targets.labels) if logits.shape[-1] == 1 else targets.labels


def _class_cost(logits: Tensor, targets: Targets) -> Tensor:
    """Compute the focal cost of a positive minus that of a negative query; mean over frames with the object."""
    chosen = wanted_classes(logits, targets)[:, :, None, None].expand(*logits.shape[:3], 1)
    chance = logits.gather(-1, chosen).squeeze(-1).sigmoid()
    positive = ALPHA * (1 - chance) ** GAMMA * -(chance + 1e-8).log()
    negative = (1 - ALPHA) * chance**GAMMA * -(1 - chance + 1e-8).log()
    present = targets.present[:, :, None]
    return ((positive - negative) * present).sum(1) / present.sum(1).clamp(min=1)
