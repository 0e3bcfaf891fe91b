"""Find which published backbone some tensors are, from their names and shapes."""

import re
from collections import defaultdict
from collections.abc import Mapping

from torch import Tensor

from model.referformer.config import PUBLISHED
from model.referformer.network.backbones import backbone_class

_BLOCK = re.compile(r"layers?\.?(\d{1,4})\.(?:blocks\.)?(\d{1,4})\.")  # layer1.0. of ResNets, layers.0.blocks.0.


def backbone_of(body: Mapping[str, Tensor]) -> str | None:
    """Return the key of PUBLISHED that has the kind, the width and the depths of these tensors; None if none has.

    body: by the names in the authors' files, such as `layer1.0.conv1.weight` or `layers.0.blocks.0.norm1.weight`.
    """
    blocks: dict[int, set[int]] = defaultdict(set)
    for name in body:
        if found := _BLOCK.match(name):
            blocks[int(found[1])].add(int(found[2]))
    depths = tuple(len(blocks[stage]) for stage in sorted(blocks))
    first = next((body[name] for name in ("patch_embed.proj.weight", "conv1.weight") if name in body), None)
    if first is None:
        return None
    for name, (kind, sizes) in PUBLISHED.items():
        config = backbone_class(kind).config_type(**sizes)
        width = getattr(config, "embed_dim", None)
        dimensions = {"resnet": 4, "swin": 4, "video_swin": 5}[kind]
        is_kind = ("conv1.weight" in body) == (width is None) and first.ndim == dimensions
        if is_kind and config.depths == depths and width in (None, len(first)):
            return name
    return None
