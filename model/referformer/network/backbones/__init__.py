"""Visual backbones: clips [B, T, 3, H, W] -> four feature maps [(B T), C, h, w], each at twice the previous stride.

A new backbone is one module with its config and its network, and one line in `BACKBONES`. This file needs no torch.
"""

import pkgutil
from typing import Any, ClassVar, Protocol

# "type" of the backbone in config.json -> class of the network, imported when a config names it. The class has the
# class of its config as `config_type`.
BACKBONES = {
    "resnet": "model.referformer.network.backbones.resnet:ResNet",
    "swin": "model.referformer.network.backbones.swin:Swin",
    "video_swin": "model.referformer.network.backbones.video_swin:VideoSwin",
}


class BackboneConfig(Protocol):
    """A frozen dataclass of plain numbers that checks itself; the network takes it as its only argument."""

    kind: ClassVar[str]  # a key of BACKBONES
    temporal: ClassVar[bool]  # True: the frames of a clip see each other, so they cannot be computed one by one

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four feature maps."""
        ...

    @property
    def stride(self) -> int:
        """Stride of the finest feature map; each further one doubles it."""
        ...


def backbone_class(kind: str) -> Any:
    """Return the network class of a key of BACKBONES."""
    return pkgutil.resolve_name(BACKBONES[kind])


def build_backbone(config: BackboneConfig) -> Any:
    """Build the backbone of a config, an `nn.Module` with fresh weights."""
    return backbone_class(config.kind)(config)
