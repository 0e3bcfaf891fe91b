"""Put pretrained weights into the parts of a fresh model. Strict: each tensor that a part needs, in its shape."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from model.referformer.network.referformer import ReferFormer
from model.referformer.pretrained.names import UNUSED, backbone_tensors, fit_to_video
from model.referformer.pretrained.source import SHOWN, PretrainedSource, holds

BODY, TEXT = "backbone.0.body", "text_encoder"
# What published files lack and published training starts fresh: norms behind the stages of a Swin; RoBERTa's pooler,
# which its pre-training does not use; and the convolutions over time of small models here.
MAY_LACK = {
    "resnet": re.compile("(?!)"),
    "swin": re.compile(r"norm[0-3]\."),
    "video_swin": re.compile(r"motion\."),
    "text": re.compile(r"pooler\."),
}


def load_backbone(model: ReferFormer, path: str | Path) -> tuple[list[str], list[str]]:
    """Load the backbone from a `.pth` file of torchvision or of the authors, or from a folder of `transformers`.

    Returns the names in the model that stay fresh, and the names in the file that were not used. Raises CheckpointError
    if the file cannot be read safely, with a tensor that is missing, unknown or of another shape.
    """
    config = model.config.backbone
    if config.kind not in MAY_LACK:
        raise CheckpointError(f"{path}: pretrained weights are for resnet, swin and video_swin, not for {config.kind}")
    source = PretrainedSource.read(path)
    tensors, unused = backbone_tensors(source, config)
    fitting = fit_to_video(tensors, config) if config.kind == "video_swin" else tensors
    body = model.get_submodule(BODY)
    _load(body, fitting, MAY_LACK[config.kind], f"{path} does not fit the backbone ({config.kind})", holds(tensors))
    return [f"{BODY}.{name}" for name in _expected(body) if name not in fitting], unused


def load_text(model: ReferFormer, path: str | Path) -> tuple[list[str], list[str]]:
    """Load the text encoder from a folder of `transformers` with RoBERTa, with a head or without; as `load_backbone`.

    Raises CheckpointError.
    """
    source = PretrainedSource.read(path, folder_only=True)
    expected = {"num_attention_heads": model.config.text.heads, "layer_norm_eps": 1e-5, "pad_token_id": 1}
    source.require_config("roberta", {key: (value, None) for key, value in expected.items()})
    source.require_config("roberta", {"hidden_act": ("gelu", "gelu")})
    own = {name: name.removeprefix("roberta.") for name in source.tensors}
    unused = [name for name in own if UNUSED["text"].match(own[name])]
    tensors = {own[name]: x for name, x in source.tensors.items() if name not in unused}
    _load(model.text_encoder, tensors, MAY_LACK["text"], f"{path} does not fit the text encoder", holds(tensors))
    return [f"{TEXT}.{name}" for name in _expected(model.text_encoder) if name not in tensors], unused


def tensor_names(model: nn.Module) -> set[str]:
    """Return the names of all parameters and floating-point buffers, one name for each."""
    buffers = {name for name, x in model.named_buffers() if x.is_floating_point()}
    return buffers | {name for name, _ in model.named_parameters()}


def by_module(fresh: Iterable[str], model: nn.Module) -> dict[str, int]:
    """Group names of tensors under the largest modules that they fill -> number of tensors."""
    names, counts = set(fresh), {}
    others = tensor_names(model) - names
    for name in sorted(names):
        parts = name.split(".")
        whole = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
        module = next(one for one in whole if not any(f"{other}.".startswith(f"{one}.") for other in others))
        counts[module] = counts.get(module, 0) + 1
    return counts


def _expected(part: nn.Module) -> dict[str, Tensor]:
    return {name: x for name, x in part.state_dict().items() if x.is_floating_point()}


def _load(part: nn.Module, tensors: Mapping[str, Tensor], may_lack: re.Pattern[str], what: str, held: str) -> None:
    """Copy `tensors` into `part`. Raises CheckpointError that begins with `what` unless they fit."""
    expected = _expected(part)
    problems = [
        f"missing: {name} {list(own.shape)}"
        for name, own in expected.items()
        if name not in tensors and not may_lack.match(name)
    ]
    for name, x in tensors.items():
        own = expected.get(name)
        if own is None:
            problems.append(f"unknown: {name} {list(x.shape)}")
        elif x.shape != own.shape:
            problems.append(f"shape: {name} is {list(x.shape)}, the model has {list(own.shape)}")
        elif not x.is_floating_point() or not x.isfinite().all():
            problems.append(f"values: {name} holds numbers that are not finite floating-point")
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointError(f"{what}: {'; '.join(problems[:SHOWN])}{more}. It seems to hold {held}")
    with torch.no_grad():
        for name, x in tensors.items():
            expected[name].copy_(x)
