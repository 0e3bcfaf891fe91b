"""Video-Swin transformer (Liu et al. 2022): windows over time as well; the stage outputs carry no norm."""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
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
class VideoSwinConfig(SwinSizes):
    """Sizes of the network; windows are (time, height, width)."""

    kind: ClassVar[str] = "video_swin"
    temporal: ClassVar[bool] = True

    window: tuple[int, int, int] = (8, 7, 7)
    motion_channels: int = 0  # of convolutions over time next to the patches; 0: none, as published

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.motion_channels and self.patch != 4:
            raise ValueError(
                f"motion_channels need a patch of 4, which is the stride of the convolutions; got {self.patch}"
            )


class ClipPatchEmbed(nn.Module):
    """[B, 3, T, H, W] -> one token per frame and patch [B, T, h, w, C]; time is not reduced."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, dim, (1, patch, patch), stride=(1, patch, patch))
        self.norm = nn.LayerNorm(dim)

    def forward(self, frames: Tensor) -> Tensor:
        return self.norm(self.proj(pad_to_patches(frames, self.patch)).permute(0, 2, 3, 4, 1))


class MotionStem(nn.Module):
    """[B, 3, T, H, W] -> [B, T, h, w, C] at stride 4, added to the tokens of the patches.

    Convolutions over time and space learn the direction of a motion much sooner than attention between frames does.
    The output starts as 0, so that it can be added to a trained model.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(incoming, channels, 3, stride=(1, stride, stride), padding=1)
            for incoming, stride in ((3, 2), (channels, 2), (channels, 1), (channels, 1))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in self.convolutions)
        self.proj = nn.Linear(channels, dim)

    def forward(self, frames: Tensor) -> Tensor:
        x = pad_to_patches(frames, 4)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x).permute(0, 2, 3, 4, 1))).permute(0, 4, 1, 2, 3)
        return self.proj(x.permute(0, 2, 3, 4, 1))


class VideoSwin(nn.Module):
    """Frames [B, T, 3, H, W] -> four maps [(B T), C, h, w]; frames of a clip see each other."""

    config_type = VideoSwinConfig

    def __init__(self, config: VideoSwinConfig) -> None:
        super().__init__()
        self.patch_embed = ClipPatchEmbed(config.patch, config.embed_dim)
        self.motion = MotionStem(config.motion_channels, config.embed_dim) if config.motion_channels else None
        rates = drop_path_rates(config.drop_path, config.depths)
        self.layers = nn.ModuleList(
            SwinStage(channels, config.window, config.heads[stage], rates[stage])
            for stage, channels in enumerate(config.channels)
        )
        self.downsamples = nn.ModuleList(PatchMerging(channels) for channels in config.channels[:-1])
        self.apply(init_linear)
        if self.motion is not None:
            nn.init.zeros_(self.motion.proj.weight)

    def forward(self, frames: Tensor) -> list[Tensor]:
        frames = frames.transpose(1, 2)
        x = self.patch_embed(frames)
        if self.motion is not None:
            x = x + self.motion(frames)
        maps = []
        for number, stage in enumerate(self.layers):
            x = stage(x, shrink=True)
            maps.append(x.permute(0, 1, 4, 2, 3).flatten(0, 1))
            if number < len(self.downsamples):
                x = self.downsamples[number](x)
        return maps
