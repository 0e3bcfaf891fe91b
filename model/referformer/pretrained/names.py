"""From the names and shapes of published weights to those of the model's parts.

ResNet and Swin have the names of torchvision and of the authors of Swin here too. `transformers` names them otherwise,
and Video-Swin differs by the place of its patch merging. Weights of a Swin that knows single images are inflated over
time for a Video-Swin, as its authors do.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.referformer.network.backbones import BackboneConfig
from model.referformer.pretrained.source import PretrainedSource

# Names of `transformers` -> names of the authors; (\d+) and \1 as in `re`. Stages of ResNet count from 1.
RESNET = (
    (r"^resnet\.", ""),
    (r"^classifier\.1\.", "fc."),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    *((rf"^encoder\.stages\.{stage}\.layers\.", f"layer{stage + 1}.") for stage in range(4)),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    *((rf"\.layer\.{number}\.convolution\.", f".conv{number + 1}.") for number in range(3)),
    *((rf"\.layer\.{number}\.normalization\.", f".bn{number + 1}.") for number in range(3)),
)
SWIN = (
    (r"^swin\.", ""),
    (r"^classifier\.", "head."),
    (r"^layernorm\.", "norm."),
    *((rf"^hidden_states_norms\.stage{stage + 1}\.", f"norm{stage}.") for stage in range(4)),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.relative_", ".attn.relative_"),
    (r"\.attention\.self\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)
# What a file may put before the names of a part: a wrapper for several GPUs, and a model that has a backbone. In DETR
# and ReferFormer it is `backbone.0`: such a file is a model of its own.
WRAPPERS = (re.compile(r"module\."), re.compile(r"backbone\.(?!0\.)"))
TEXT_WRAPPERS = (re.compile(r"module\."), re.compile(r"roberta\."))
QUERY_KEY_VALUE = re.compile(r"(.*\.attn\.)(query|key|value)\.(weight|bias)")
# What a file may hold beside the part: heads for other tasks, counters, and tables that follow from the sizes.
SWIN_HEADS = r"(head|cls_head|norm|decoder)\.|embeddings\.mask_token$"
TABLES = r".*\.(attn_mask|relative_position_index)$"
UNUSED = {
    "resnet": re.compile(r"(fc|head)\.|.*\.num_batches_tracked$"),
    "swin": re.compile(rf"{SWIN_HEADS}|{TABLES}"),
    "video_swin": re.compile(rf"{SWIN_HEADS}|norm[0-3]\.|{TABLES}"),  # of a Swin with norms behind its stages
    "text": re.compile(r"lm_head\.|embeddings\.(position_ids|token_type_ids)$"),
}
# config.json of `transformers`: values that the tensors do not show -> the one needed, and what a missing key means.
SAME_RESNET = {
    "layer_type": ("bottleneck", "bottleneck"),
    "downsample_in_bottleneck": (False, False),
    "downsample_in_first_stage": (False, False),
    "hidden_act": ("relu", "relu"),
}
SAME_SWIN = {"hidden_act": ("gelu", "gelu"), "layer_norm_eps": (1e-5, 1e-5)}
# model_type, names, values of config.json, and the way out for a folder of another model.
RESNET_FOLDER = ("resnet", RESNET, SAME_RESNET, "give a ResNet with bottlenecks, such as microsoft/resnet-50")
SWIN_FOLDER = ("swin", SWIN, SAME_SWIN, "give a Swin, such as microsoft/swin-tiny-patch4-window7-224")


def backbone_tensors(source: PretrainedSource, config: BackboneConfig) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors of a backbone by their name in the model, and the unused names of the file.

    Names that nobody knows stay as they are. Raises CheckpointError if a folder is of another model.
    """
    renamed = unwrapped(source.tensors, WRAPPERS)
    if source.config is not None:
        model_type, rules, same, way = RESNET_FOLDER if config.kind == "resnet" else SWIN_FOLDER
        source.require_config(model_type, same, way)
        renamed = {name: _rename(name, rules) for name in source.tensors}
    tensors, unused = {}, [name for name in source.tensors if name not in renamed]
    for name, own in renamed.items():
        if UNUSED[config.kind].match(own):
            unused.append(name)
        else:
            tensors[own] = source.tensors[name]
    if source.config is not None and config.kind != "resnet":
        tensors = _join_attention(tensors)
    return tensors, unused


def unwrapped(names: Iterable[str], wrappers: tuple[re.Pattern[str], ...]) -> dict[str, str]:
    """Return names in a file -> names without wrappers. If some names have a wrapper, the others are left out."""
    own = {name: name for name in names}
    for wrapper in wrappers:
        own = {name: inner[found.end() :] for name, inner in own.items() if (found := wrapper.match(inner))} or own
    return own


def fit_to_video(tensors: Mapping[str, Tensor], config: Any) -> dict[str, Tensor]:
    """Change the tensors of a Swin or Video-Swin to a Video-Swin that keeps every frame.

    Patches over several frames become the sum over these frames, as published. A Swin that knows single images is
    inflated: its patches see one frame, and its position biases are the same for each distance in time.
    """
    patches = tensors.get("patch_embed.proj.weight")
    flat = patches is not None and patches.ndim == 4
    found = {}
    for name, x in tensors.items():
        own = re.sub(r"^layers\.(\d+)\.downsample\.", r"downsamples.\1.", name)
        if name == "patch_embed.proj.weight" and x.ndim in (4, 5):
            x = x[:, :, None] if flat else x.sum(2, keepdim=True)
        elif flat and name.endswith("relative_position_bias_table") and x.ndim == 2:
            x = _inflate_table(x, config.window)
        found[own] = x
    return found


def _inflate_table(table: Tensor, window: tuple[int, int, int]) -> Tensor:
    """[(2h - 1)(2w - 1), heads] -> [(2d - 1)(2h - 1)(2w - 1), heads]; resized if its own window is another square."""
    times, (rows, columns) = 2 * window[0] - 1, (2 * side - 1 for side in window[1:])
    if len(table) != rows * columns:
        side = int(len(table) ** 0.5)
        if side * side != len(table) or not table.numel() or not table.is_floating_point():
            return table  # the check of shapes names it
        square = table.T.float().reshape(1, -1, side, side)
        table = F.interpolate(square, size=(rows, columns), mode="bicubic").reshape(-1, rows * columns).T
    return table.repeat(times, 1)


def _rename(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, own in rules:
        name = re.sub(pattern, own, name)
    return name


def _join_attention(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join query, key and value of each block to one tensor `qkv`, where all three are there."""
    found = dict(tensors)
    for name in tensors:
        if not (match := QUERY_KEY_VALUE.fullmatch(name)):
            continue
        parts = [f"{match[1]}{part}.{match[3]}" for part in ("query", "key", "value")]
        shapes = {found[part].shape if part in found else torch.Size() for part in parts}
        if len(shapes) == 1 and torch.Size() not in shapes:
            found[f"{match[1]}qkv.{match[3]}"] = torch.cat([found.pop(part) for part in parts])
    return found
