"""Loss of one forward pass: five terms of the matched query in each decoder layer (ReferFormer, section 3.5).

Normalised as published: every term by the number of frames that show their object, although the mask terms count
once per clip and the others once per frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model.referformer.network.referformer import Prediction, ReferFormerOutput
from model.referformer.training.matcher import Coefficients, Terms, dice, focal_loss, match, wanted_classes
from model.referformer.training.targets import Targets, generalised_iou


@dataclass(frozen=True)
class Losses:
    """Losses of one batch."""

    layers: list[Terms]  # scalars, first decoder layer to last
    queries: list[Tensor]  # [B], the matched query in each layer
    total: Tensor  # to be minimised

    def by_name(self) -> dict[str, Tensor]:
        """Return the last layer's terms by name, without gradient."""
        return {name: value.detach() for name, value in vars(self.layers[-1]).items()}


def clip_losses(
    output: ReferFormerOutput,
    targets: Targets,
    coefficients: Coefficients,
    num_boxes: Tensor | float | None = None,
    *,
    full_masks: bool = False,
) -> Losses:
    """Compute the loss of a batch; each decoder layer is matched separately.

    num_boxes: frames that show their object, the mean over all processes; None: those of this batch.
    full_masks: compare masks at the input's size, with upsampled logits; the published way is at stride 4.
    """
    normaliser = max(float(targets.count if num_boxes is None else num_boxes), 1.0)
    layers, queries = [], []
    for prediction in (*output.aux, output):
        chosen = match(prediction, targets, coefficients)
        layers.append(_layer_losses(prediction, targets, chosen, normaliser, full_masks))
        queries.append(chosen)
    total = torch.stack([terms.total(coefficients) for terms in layers]).sum()
    return Losses(layers=layers, queries=queries, total=total)


def _layer_losses(
    prediction: Prediction, targets: Targets, chosen: Tensor, normaliser: float, full_masks: bool
) -> Terms:
    clips = torch.arange(len(chosen), device=chosen.device)
    meant = targets.meant[:, None]  # an absent object has no box, and an empty mask
    boxes = prediction.boxes[clips, :, chosen].float()  # [B, T, 4]
    logits = prediction.masks[clips, :, chosen].float()  # [B, T, h, w]
    if full_masks:
        logits = F.interpolate(logits, targets.masks.shape[-2:], mode="bilinear")
    masks = targets.masks_at(*logits.shape[-2:]).flatten(1)
    logits = logits.flatten(1)
    return Terms(
        classes=_class_loss(prediction.logits.float(), targets, chosen).sum() / normaliser,
        boxes=((boxes - targets.boxes).abs().sum(-1) * meant).sum() / normaliser,
        giou=((1 - generalised_iou(boxes, targets.boxes)) * meant).sum() / normaliser,
        masks=focal_loss(logits, masks).mean(-1).sum() / normaliser,
        dice=(1 - dice(logits, masks)).sum() / normaliser,
    )


def _class_loss(logits: Tensor, targets: Targets, chosen: Tensor) -> Tensor:
    """[B, T, Q, K]: the matched query is positive where the object is present, everything else negative."""
    wanted = torch.zeros_like(logits)
    clip, frame = targets.present.nonzero(as_tuple=True)
    wanted[clip, frame, chosen[clip], wanted_classes(logits, targets)[clip, frame]] = 1
    return focal_loss(logits, wanted)
