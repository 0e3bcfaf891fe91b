"""Gradient checkpointing changes memory, not numbers."""

import copy

import pytest
import torch

from model.referformer.network.referformer import ReferFormer
from model.referformer.network.text_encoder import TokenBatch
from model.referformer.training.activation_checkpointing import checkpoint_gradients


@pytest.mark.parametrize("backbone", ["resnet", "video_swin"])
def test_gradients_are_the_same(tiny_config, backbone):
    torch.manual_seed(0)
    plain = ReferFormer(tiny_config(backbone, dropout=0.2)).train()
    saving = copy.deepcopy(plain)
    checkpoint_gradients(saving)
    frames = torch.randn(1, 2, 3, 40, 56)
    words = TokenBatch(ids=torch.tensor([[0, 5, 6, 2]]), mask=torch.ones(1, 4, dtype=torch.bool))
    gradients = []
    for model in (plain, saving):
        torch.manual_seed(1)  # dropout and drop path are drawn again in the backward pass, and must be the same
        output = model(frames, words)
        (output.masks.square().mean() + output.logits.sum() + output.boxes.sum()).backward()
        gradients.append({name: x.grad for name, x in model.named_parameters() if x.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)
