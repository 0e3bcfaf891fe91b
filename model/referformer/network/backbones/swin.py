"""Swin transformer on single frames (Liu et al. 2021), every stage output with its own norm."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from model.referformer.network.backbones.window_attention import (
    PatchMerging,
    SwinSizes,
    SwinStage,
    drop_path_rates,
    init_linear,
    pad_to_patches,
)


@dataclass(frozen=True, kw_only=True)
class SwinConfig(SwinSizes):
    """Sizes of the network; windows are `window` x `window` tokens."""

    kind: ClassVar[str] = "swin"
    temporal: ClassVar[bool] = False

    window: int = 7


class FramePatchEmbed(nn.Module):
    """[N, 3, H, W] -> one token per patch [N, h, w, C]."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.proj(pad_to_patches(frames, self.patch)).permute(0, 2, 3, 1))


class Swin(nn.Module):
    """Frames [B, T, 3, H, W] -> four maps [(B T), C, h, w]; windows never shrink, maps are padded to them."""

    config_type = SwinConfig

    def __init__(self, config: SwinConfig) -> None:
        super().__init__()
        self.patch_embed = FramePatchEmbed(config.patch, config.embed_dim)
        rates = drop_path_rates(config.drop_path, config.depths)
        self.layers = nn.ModuleList(
            SwinStage(
                channels,
                (1, config.window, config.window),
                config.heads[stage],
                rates[stage],
                downsample=PatchMerging(channels) if stage < 3 else None,
            )
            for stage, channels in enumerate(config.channels)
        )
        for stage, channels in enumerate(config.channels):
            self.add_module(f"norm{stage}", nn.LayerNorm(channels))
        self.apply(init_linear)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = self.patch_embed(frames.flatten(0, 1))[:, None]
        maps = []
        for number, stage in enumerate(self.layers):
            x = stage(x, shrink=False)
            maps.append(self.get_submodule(f"norm{number}")(x).squeeze(1).permute(0, 3, 1, 2))
            if number < len(self.layers) - 1:
                x = self.get_submodule(f"layers.{number}.downsample")(x)
        return maps
