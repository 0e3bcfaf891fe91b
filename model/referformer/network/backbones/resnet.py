"""ResNet with bottlenecks (He et al. 2016), the stride in the 3 x 3, frozen batch norm."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.referformer.checks import require_positive


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """Sizes of the network; stage i has 4 * widths[i] output channels at stride 4 * 2**i."""

    kind: ClassVar[str] = "resnet"
    temporal: ClassVar[bool] = False
    stride: ClassVar[int] = 4

    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    widths: tuple[int, int, int, int] = (64, 128, 256, 512)

    def __post_init__(self) -> None:
        require_positive(self)

    @property
    def channels(self) -> tuple[int, ...]:
        return tuple(4 * width for width in self.widths)


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine values are constants: buffers, never trained."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward_fused(self, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """Apply the convolution to `x`, then this norm, fused into one convolution: the norm is linear and constant."""
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        shift = self.bias - self.running_mean * scale
        weight = convolution.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, shift, convolution.stride, convolution.padding)  # pyright: ignore[reportArgumentType]


class Shortcut(nn.Sequential):
    """1 x 1 convolution and norm, for a block that changes the number of channels or the size."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        convolution = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
        super().__init__(convolution, FrozenBatchNorm(out_channels))

    def forward(self, input: Tensor) -> Tensor:
        convolution, norm = self
        assert isinstance(convolution, nn.Conv2d)
        assert isinstance(norm, FrozenBatchNorm)
        return norm.forward_fused(convolution, input)


class BottleneckBlock(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 with a shortcut; width -> 4 * width channels."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = FrozenBatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = FrozenBatchNorm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = FrozenBatchNorm(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = Shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1.forward_fused(self.conv1, x), inplace=True)
        x = F.relu(self.bn2.forward_fused(self.conv2, x), inplace=True)
        return F.relu(self.bn3.forward_fused(self.conv3, x).add_(shortcut), inplace=True)


class ResNet(nn.Module):
    """Frames [B, T, 3, H, W] -> maps [(B T), 4 * widths[i], h, w] at strides 4, 8, 16, 32."""

    config_type = ResNetConfig

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        stem = config.widths[0]
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = FrozenBatchNorm(stem)
        stages, channels = [], stem
        for number, (width, depth) in enumerate(zip(config.widths, config.depths, strict=True)):
            first = BottleneckBlock(channels, width, stride=1 if number == 0 else 2)
            stages.append(nn.Sequential(first, *(BottleneckBlock(4 * width, width, 1) for _ in range(depth - 1))))
            channels = 4 * width
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # spares each convolution its reordering
        x = F.relu(self.bn1.forward_fused(self.conv1, x), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps
