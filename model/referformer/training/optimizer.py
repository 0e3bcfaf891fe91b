"""Frozen parts, parameter groups of AdamW, and learning rates over time."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from model.referformer.network.backbones.resnet import ResNet
from model.referformer.network.referformer import ReferFormer


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Learning rates by part, as published for eight clips a step. A part with rate 0 is frozen."""

    main: float = 1e-4
    backbone: float = 5e-5
    text: float = 1e-5
    offsets: float = 1e-4  # reference points and sampling offsets of the deformable attention
    quality: float = 1e-3  # quality head; not in the paper

    def of(self, name: str) -> tuple[str, float]:
        """Return the group and rate of a parameter by its name."""
        if name.startswith("backbone.0."):
            return "backbone", self.backbone
        if name.startswith("text_encoder."):
            return "text", self.text
        if "reference_points" in name or "sampling_offsets" in name:
            return "offsets", self.offsets
        if name.startswith("quality_head."):
            return "quality", self.quality
        return "main", self.main


def freeze(model: ReferFormer, rates: Rates, *, text_encoder: bool) -> None:
    """Stop gradients of parts with rate 0, and as in the published training: a ResNet's stem and first stage.

    text_encoder: freeze it too.
    A frozen text encoder keeps its dropout: it is in training mode with the rest.
    """
    body = model.get_submodule("backbone.0.body")
    if isinstance(body, ResNet):
        body.conv1.requires_grad_(False)
        body.layer1.requires_grad_(False)
    model.text_encoder.requires_grad_(not text_encoder)
    for name, parameter in model.named_parameters():
        if rates.of(name)[1] == 0:
            parameter.requires_grad_(False)


def adamw(model: nn.Module, rates: Rates, weight_decay: float) -> torch.optim.AdamW:
    """Build AdamW over all trainable parameters, all with weight decay as published; each group has a `name`."""
    groups: dict[str, dict] = {}
    for name, parameter in model.named_parameters():  # a box head, known under two names, comes once
        if parameter.requires_grad:
            key, rate = rates.of(name)
            groups.setdefault(key, {"name": key, "lr": rate, "params": []})["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=rates.main, weight_decay=weight_decay, fused=True)


def rate_factor(progress: float, *, schedule: str, drops: tuple[float, ...], warmup: float) -> float:
    """Return the factor of the learning rates after `progress` epochs.

    "steps": a tenth after each of `drops` (epochs), the published way. "cosine": down to 0 at the last of `drops`.
    Before either, a linear rise over the first `warmup` epochs.
    """
    rise = min(1.0, (progress + 1e-9) / warmup) if warmup else 1.0
    if schedule == "cosine":
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, progress / drops[-1])))
    return rise * 0.1 ** sum(progress >= drop for drop in drops)
