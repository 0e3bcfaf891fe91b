"""Gradient checkpointing: the activations of a block are computed again in the backward pass instead of being kept."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from model.referformer.network.backbones.resnet import BottleneckBlock
from model.referformer.network.backbones.window_attention import SwinBlock
from model.referformer.network.deformable_transformer import DecoderLayer, EncoderLayer
from model.referformer.network.pixel_decoder import CrossModalBlock
from model.referformer.network.referformer import ReferFormer

BLOCKS = (BottleneckBlock, SwinBlock, EncoderLayer, DecoderLayer, CrossModalBlock)


def checkpoint_gradients(model: ReferFormer) -> None:
    """Make every block of `model` store only its inputs. Names, weights and results do not change."""
    for module in model.modules():
        if isinstance(module, BLOCKS):
            _recompute(module, "forward")
        if isinstance(module, CrossModalBlock):
            _recompute(module, "mix_pixels")


def _recompute(module: nn.Module, method: str) -> None:
    setattr(module, method, partial(checkpoint, getattr(module, method), use_reentrant=False))
