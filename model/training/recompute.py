"""Gradient checkpointing: the activations of a block are computed again in the backward pass instead of being kept."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from model.backbones.resnet import Bottleneck
from model.backbones.windows import SwinBlock
from model.deformable import DecoderLayer, EncoderLayer
from model.pixel_decoder import CrossModalBlock
from model.referformer import ReferFormer

BLOCKS = (Bottleneck, SwinBlock, EncoderLayer, DecoderLayer, CrossModalBlock)


def checkpoint_gradients(model: ReferFormer) -> None:
    """Make every block of `model` keep nothing but its inputs. Names, weights and numbers stay what they are."""
    for module in model.modules():
        if isinstance(module, BLOCKS):
            _recompute(module, "forward")
        if isinstance(module, CrossModalBlock):
            _recompute(module, "mix_pixels")


def _recompute(module: nn.Module, method: str) -> None:
    setattr(module, method, partial(checkpoint, getattr(module, method), use_reentrant=False))
