"""Put pretrained weights into the parts of a fresh model. Strict: each tensor that a part needs, in its shape."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from model.referformer.config import ReferFormerConfig
from model.referformer.network.backbones import BackboneConfig
from model.referformer.network.referformer import ReferFormer
from model.referformer.pretrained.names import TEXT_WRAPPERS, UNUSED, backbone_tensors, fit_to_video, unwrapped
from model.referformer.pretrained.source import SHOWN, PretrainedSource, holds, published_name, sizes_of

BODY, TEXT = "backbone.0.body", "text_encoder"
# What published files lack and published training starts fresh: norms behind the stages of a Swin; RoBERTa's pooler,
# which its pre-training does not use; and the convolutions over time of small models here.
MAY_LACK = {
    "resnet": re.compile("(?!)"),
    "swin": re.compile(r"norm[0-3]\."),
    "video_swin": re.compile(r"motion\."),
    "text": re.compile(r"pooler\."),
}
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
OTHER_PARTS = (
    "its sizes are those of the model, but not its names or parts: give the file of torchvision or of the authors of "
    "Swin, not that of timm or of a variant; if only the number of heads differs, give it in the recipe, under "
    "[model.backbone]"
)
TEXT_WAY = "give roberta-base"
TEXT_SIZES = f"{TEXT_WAY}, or a recipe with the sizes of these weights under [model.text]"


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
    way = OTHER_PARTS if sizes_of(tensors) == sizes_of(_expected(body)) is not None else _way(tensors, config)
    part, held = f"the backbone ({config.kind})", f"It seems to hold {holds(tensors)}; {way}"
    _load(body, fitting, MAY_LACK[config.kind], path, part, held)
    return [f"{BODY}.{name}" for name in _expected(body) if name not in fitting], unused


def load_text(model: ReferFormer, path: str | Path) -> tuple[list[str], list[str]]:
    """Load the text encoder from a folder of `transformers` with RoBERTa, with a head or without; as `load_backbone`.

    Raises CheckpointError.
    """
    source = PretrainedSource.read(path, folder_only=True)
    expected = {
        "layer_norm_eps": (1e-5, 1e-12),
        "pad_token_id": (1, 1),
        "hidden_act": ("gelu", "gelu"),
    }
    source.require_config("roberta", expected, TEXT_WAY)
    source.require_config("roberta", {"num_attention_heads": (model.config.text.heads, 12)}, TEXT_SIZES)
    own = unwrapped(source.tensors, TEXT_WRAPPERS)
    unused = [name for name in source.tensors if name not in own or UNUSED["text"].match(own[name])]
    tensors = {own[name]: x for name, x in source.tensors.items() if name not in unused}
    held = f"It seems to hold {holds(tensors)}; {TEXT_SIZES}"
    _load(model.text_encoder, tensors, MAY_LACK["text"], path, "the text encoder", held)
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


def _way(tensors: Mapping[str, Tensor], config: BackboneConfig) -> str:
    """Return the way out for tensors that do not fit the backbone of `config`."""
    way, name = "give the weights of this backbone", published_name(tensors)
    if name and ReferFormerConfig.published(name).backbone != config:
        return f"{way}, or --backbone {name}"
    sizes = re.match(r"a (Video-Swin|Swin|ResNet) of (?!.* basic blocks)", holds(tensors))
    return f"{way}, or a recipe with the sizes of these weights under [model.backbone]" if sizes and not name else way


def _expected(part: nn.Module) -> dict[str, Tensor]:
    return {name: x for name, x in part.state_dict().items() if x.is_floating_point()}


def _load(
    part: nn.Module,
    tensors: Mapping[str, Tensor],
    may_lack: re.Pattern[str],
    path: str | Path,
    what: str,
    held: str,
) -> None:
    """Copy `tensors` of `path` into `part`, which messages call `what`.

    Raises CheckpointError, which ends with `held`, unless they fit; another one if values are not finite.
    """
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
    if problems:
        more = f" and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise CheckpointError(f"{path} does not fit {what}: {'; '.join(problems[:SHOWN])}{more}. {held}")
    if odd := [fault for name, x in tensors.items() if (fault := _fault(name, x))]:
        more = f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else ""
        raise CheckpointError(
            f"{path}: {'; '.join(odd[:SHOWN])}{more}: the file is damaged, or its training failed; download it again, "
            "or give other weights"
        )
    with torch.no_grad():
        for name, x in tensors.items():
            expected[name].copy_(x)


def _fault(name: str, x: Tensor) -> str | None:
    """Return what is wrong with the values of a tensor, as they are in float32; None if nothing is."""
    if x.dtype not in FLOATS:
        return f"{name} is {str(x.dtype).removeprefix('torch.')}, not floating-point of 16, 32 or 64 bits"
    x = x.float()
    if not x.isfinite().all():
        return f"{name} holds NaN or infinity"
    return f"{name} holds variances below 0" if name.endswith("running_var") and bool((x < 0).any()) else None
