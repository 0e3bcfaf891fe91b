"""The quality head: what it reads, and that masks do not depend on it."""

import torch

from model.referformer.network.quality_head import STATISTICS, QualityHead, Rating, mask_statistics


def test_statistics_describe_each_mask():
    chance = torch.full((1, 3, 4, 4), 0.01)
    chance[0, 0, :2, :2] = 0.95
    chance[0, 1, :2, 1:3] = 0.6
    kinds = mask_statistics(chance)
    assert kinds.shape == (1, 3, STATISTICS)
    sure, unsure, empty = kinds[0].tolist()
    torch.testing.assert_close(torch.tensor(sure), torch.tensor([1.0, 0.5, 0.95, 0.0, 1.0]))
    torch.testing.assert_close(torch.tensor(unsure), torch.tensor([1.0, 0.5, 0.6, 1.0, 2 / 6]))
    assert empty == [0.0, 0.0, 0.0, 0.0, 0.0]


def test_an_empty_mask_gives_a_finite_prediction_and_no_gradient_leaves_the_head():
    torch.manual_seed(0)
    head = QualityHead(8, 4)
    inputs = [torch.randn(2, 8), torch.randn(6, 8, 4, 5), torch.full((2, 3, 4, 5), -200.0)]
    for x in inputs:
        x.requires_grad_()
    found = head(*inputs)
    for logits in found:
        assert logits.shape == (2,)
        assert logits.isfinite().all()
    torch.stack(found).sum().backward()
    assert all(x.grad is None for x in inputs)
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_one_frame_is_enough():
    found = QualityHead(8, 4)(torch.randn(1, 8), torch.randn(1, 8, 4, 5), torch.randn(1, 1, 4, 5))
    assert torch.stack(found).isfinite().all()


def test_quality_is_the_expected_iou():
    presence, iou = torch.tensor([0.25, 0.0, 1.0]), torch.tensor([0.8, 0.8, 0.5])
    torch.testing.assert_close(Rating(presence.logit(), iou.logit()).quality(), torch.tensor([0.2, 0.0, 0.5]))
