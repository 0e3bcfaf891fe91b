"""Loss of one forward pass: five terms of the matched query in each decoder layer (ReferFormer, section 3.5).

A model with a quality head adds two terms, which train that head only.

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
    presence: Tensor | None  # scalar, as `quality` of the quality head; None without it
    quality: Tensor | None
    total: Tensor  # to be minimised

    def by_name(self) -> dict[str, Tensor]:
        """Return the last layer's terms and the losses of the quality head by name, without gradient."""
        terms = vars(self.layers[-1]) | {"presence": self.presence, "quality": self.quality}
        return {name: value.detach() for name, value in terms.items() if value is not None}


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
    presence, quality = quality_losses(output, targets)
    return Losses(layers, queries, presence, quality, sum((x for x in (presence, quality) if x is not None), total))


def quality_losses(output: ReferFormerOutput, targets: Targets) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Compare the rating with the truth by cross entropy, the means over clips; None without a quality head.

    Its presence with whether an object is meant, and its IoU with `mask_quality` where one is. The minimum of the cross
    entropy is the expected value, so both predictions are calibrated.
    """
    if output.rating is None or output.query is None:
        return None, None
    clips = torch.arange(len(output.query), device=output.query.device)
    logits = output.masks[clips, :, output.query].detach().float()
    meant = targets.meant.float()
    iou = F.binary_cross_entropy_with_logits(output.rating.iou, mask_quality(logits, targets), reduction="none")
    return F.binary_cross_entropy_with_logits(output.rating.presence, meant), (iou * meant).mean()


def mask_quality(logits: Tensor, targets: Targets) -> Tensor:
    """Return the mean IoU over the frames of masks, logits [B, T, h, w] -> [B], at the input size; 0 without an object.

    As in the measure J, a frame in which both masks are empty counts 1.
    """
    masks = F.interpolate(logits, targets.masks.shape[-2:], mode="bilinear") > 0
    common, either = (x.sum((-2, -1)) for x in (masks & targets.masks, masks | targets.masks))
    iou = torch.where(either > 0, common / either.clamp(min=1), 1.0)
    return iou.mean(1) * targets.meant


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
