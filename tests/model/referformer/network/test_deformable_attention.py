"""Deformable sampling equals grid_sample level by level, in value and gradient, also far outside the maps."""

import pytest
import torch
import torch.nn.functional as F

from model.referformer.network.deformable_attention import DeformableAttention, Levels, add_border, sample_bilinear
from model.referformer.network.deformable_transformer import inverse_sigmoid, valid_ratio

SHAPES = [(5, 7), (3, 4), (1, 2)]


def by_grid_sample(value, shapes, locations, weights):
    n, _, m, width = value.shape
    total = 0
    for level, (part, (h, w)) in enumerate(zip(value.split([h * w for h, w in shapes], 1), shapes, strict=True)):
        maps = part.permute(0, 2, 3, 1).reshape(n * m, width, h, w)
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        sampled = F.grid_sample(maps, grid, align_corners=False).unflatten(0, (n, m))
        total = total + (sampled * weights[:, :, :, level].transpose(1, 2)[:, :, None]).sum(-1)
    return total.permute(0, 3, 1, 2).flatten(2)


@pytest.mark.parametrize("dense_rows", [0, 2**9])
def test_sample_equals_grid_sample(dense_rows, monkeypatch):
    """By bags, and as a matrix product for the small tables of training."""
    monkeypatch.setattr("model.referformer.network.deformable_attention.DENSE_ROWS", dense_rows)
    torch.manual_seed(0)
    tokens = sum(h * w for h, w in SHAPES)
    value = torch.randn(2, tokens, 3, 4, dtype=torch.float64)
    locations = torch.randn(2, 6, 3, 3, 2, 2, dtype=torch.float64) + 0.5
    locations[0, 0] *= 1e9
    weights = torch.rand(2, 6, 3, 3, 2, dtype=torch.float64)
    results = []
    for function, table in ((sample_bilinear, add_border), (by_grid_sample, lambda value, _: value)):
        inputs = [x.clone().requires_grad_() for x in (value, locations, weights)]
        out = function(table(inputs[0], SHAPES), SHAPES, *inputs[1:])
        results.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_not_a_number_stays_one():
    locations = torch.full((1, 1, 1, 3, 1, 2), float("nan"))
    out = sample_bilinear(add_border(torch.ones(1, 49, 1, 2), SHAPES), SHAPES, locations, torch.ones(1, 1, 1, 3, 1))
    assert out.isnan().all()


def test_padding_is_never_read():
    torch.manual_seed(0)
    attention = DeformableAttention(8, heads=2, levels=1, points=2)
    tokens = torch.randn(1, 12, 8)
    padding = torch.arange(12)[None] % 4 == 3
    changed = tokens.masked_fill(padding[..., None], 1e3)
    query, reference = torch.randn(1, 5, 8), torch.rand(1, 5, 1, 2)
    outputs = [
        attention(query, reference, Levels(x, x, padding, [(3, 4)], torch.ones(1, 1, 2))) for x in (tokens, changed)
    ]
    assert torch.equal(*outputs)


def test_valid_ratio_and_inverse_sigmoid():
    padding = torch.ones(1, 4, 8, dtype=torch.bool)
    padding[:, :3, :2] = False
    assert valid_ratio(padding).tolist() == [[0.25, 0.75]]
    x = torch.tensor([0.0, 0.3, 1.0])
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), torch.tensor([1e-5, 0.3, 1 - 1e-5]), atol=1e-6, rtol=0)
