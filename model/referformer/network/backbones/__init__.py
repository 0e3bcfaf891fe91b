"""Visual backbones: clips [B, T, 3, H, W] -> four feature maps [(B T), C, h, w], each at twice the last stride."""

from torch import nn

from model.referformer.config import ResNetConfig, SwinConfig, VideoSwinConfig
from model.referformer.network.backbones.resnet import ResNet
from model.referformer.network.backbones.swin import Swin
from model.referformer.network.backbones.video_swin import VideoSwin


def build_backbone(config: ResNetConfig | SwinConfig | VideoSwinConfig) -> nn.Module:
    """The backbone that a config describes, freshly initialised."""
    match config:
        case ResNetConfig():
            return ResNet(config)
        case SwinConfig():
            return Swin(config)
        case VideoSwinConfig():
            return VideoSwin(config)
