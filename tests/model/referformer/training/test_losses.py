"""Matching and losses where no recording reaches: one annotated frame, several processes, refusals."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from model.referformer.config import QualityConfig
from model.referformer.network.referformer import Prediction, ReferFormer, ReferFormerOutput, with_quality_head
from model.referformer.network.text_encoder import TokenBatch
from model.referformer.training.losses import clip_losses, mask_quality, quality_losses
from model.referformer.training.matcher import Coefficients, match
from model.referformer.training.targets import Targets

WORDS = TokenBatch(ids=torch.tensor([[0, 5, 6, 2]]), mask=torch.ones(1, 4, dtype=torch.bool))


def targets(present: list[bool], height: int = 32, width: int = 64) -> Targets:
    shown = torch.tensor(present)[None]
    masks = torch.zeros(1, len(present), height, width, dtype=torch.bool)
    masks[..., 8:24, 16:48] = shown[..., None, None]
    boxes = torch.tensor([0.5, 0.5, 0.5, 0.5]) * shown[..., None]
    return Targets(masks=masks, boxes=boxes, present=shown, labels=torch.zeros_like(shown, dtype=torch.int64))


def prediction(wanted: Targets, queries: int, right: int) -> Prediction:
    """Query `right` is right in every frame, the others are the opposite."""
    sign = torch.full((queries,), -1.0)
    sign[right] = 1.0
    masks = (2 * wanted.masks_at(8, 16)[:, :, None] - 1) * 6 * sign[:, None, None]
    logits = (2 * wanted.present.float()[..., None] - 1) * 6 * sign
    boxes = wanted.boxes[:, :, None].repeat(1, 1, queries, 1)
    boxes[:, :, sign < 0] += 0.2
    return Prediction(logits=logits[..., None], boxes=boxes, masks=masks)


def test_the_query_that_is_right_in_all_frames_is_matched():
    wanted = targets([True, False, True])
    assert match(prediction(wanted, 5, 3), wanted, Coefficients()).tolist() == [3]


def test_where_nothing_is_meant_the_query_that_would_answer_learns_an_empty_mask_and_no_box():
    wanted = targets([False, False])
    found = prediction(wanted, 3, 1)
    found.logits[:, :, 2] = 8.0
    found.masks.requires_grad_()
    found.boxes.requires_grad_()
    losses = clip_losses(
        ReferFormerOutput(found.logits, found.boxes, found.masks, found.boxes[..., :2], []), wanted, Coefficients()
    )
    assert losses.queries[0].tolist() == [2]
    assert losses.layers[0].boxes == losses.layers[0].giou == 0
    losses.total.backward()
    assert (found.masks.grad[:, :, 2] > 0).all()  # down with them
    assert not found.masks.grad[:, :, :2].any()
    assert not found.boxes.grad.any()


def test_masks_of_another_size_are_refused():
    wanted = targets([True])
    wrong = prediction(wanted, 2, 0)
    with pytest.raises(ValueError, match="do not fit"):
        match(replace(wrong, masks=wrong.masks[..., :7, :]), wanted, Coefficients())


def test_one_annotated_frame_trains_all_that_it_should(tiny_config):
    """The A2D way: the backbone sees five frames, the rest and the targets one."""
    torch.manual_seed(0)
    model = ReferFormer(tiny_config("video_swin")).train()
    wanted = targets([True])
    output = model(torch.randn(1, 5, 3, 32, 64), WORDS, valid_indices=torch.tensor([2]))
    losses = clip_losses(output, wanted, Coefficients())
    losses.total.backward()
    used = {name for name, x in model.named_parameters() if x.grad is None}
    assert not {name for name in used if not name.startswith("text_encoder.embeddings.token_type")}
    assert len(losses.layers) == 2


def test_the_number_of_boxes_of_all_processes_divides(tiny_config):
    torch.manual_seed(0)
    model = ReferFormer(tiny_config()).eval()
    wanted = targets([True, True])
    with torch.no_grad():
        output = model(torch.randn(1, 2, 3, 32, 64), WORDS)
    own, shared = (clip_losses(output, wanted, Coefficients(), count) for count in (None, 4.0))
    torch.testing.assert_close(own.total, 2 * shared.total)


def test_masks_can_be_compared_at_the_size_of_the_input():
    """A mask that is right but for a shift within the cells costs nothing at stride 4, and something at the input's."""
    wanted = targets([True])
    found = prediction(wanted, 2, 0)
    output = ReferFormerOutput(found.logits, found.boxes, found.masks * 10, reference_points=torch.zeros(1), aux=[])
    moved = replace(wanted, masks=wanted.masks.roll(1, -1))
    plain, full = (clip_losses(output, moved, Coefficients(), full_masks=full) for full in (False, True))
    assert plain.by_name()["masks"] < 1e-3
    assert full.by_name()["masks"] > 0.1


def test_quality_is_the_mean_iou_and_0_where_nothing_is_meant():
    wanted = targets([True, False])
    logits = torch.full((1, 2, 8, 16), -5.0)
    logits[:, 0, 2:6, 4:8] = 5.0  # the left half of the object
    assert mask_quality(logits, wanted).item() == pytest.approx((0.5 + 1) / 2, abs=0.05)
    assert mask_quality(torch.full((1, 2, 8, 16), -5.0), targets([False, False])).item() == 0


def test_the_quality_losses_train_the_head_alone_and_changes_no_other_loss(tiny_config):
    torch.manual_seed(0)
    plain = ReferFormer(tiny_config()).eval()
    headed = with_quality_head(plain, QualityConfig(hidden_dim=8)).eval()
    frames = torch.randn(1, 2, 3, 32, 64)
    before = clip_losses(plain(frames, WORDS), targets([True, True]), Coefficients())
    after = clip_losses(headed(frames, WORDS), targets([True, True]), Coefficients())
    assert (before.presence, before.quality) == (None, None)
    assert set(after.by_name()) - set(before.by_name()) == {"presence", "quality"}
    assert (after.total - after.presence - after.quality).item() == pytest.approx(before.total.item(), rel=1e-5)
    (after.presence + after.quality).backward()
    trained = {name for name, x in headed.named_parameters() if x.grad is not None}
    assert trained == {f"quality_head.{name}" for name, _ in headed.quality_head.named_parameters()}


def test_the_iou_is_learned_where_something_is_meant_and_presence_everywhere(tiny_config):
    torch.manual_seed(0)
    headed = with_quality_head(ReferFormer(tiny_config()), QualityConfig(hidden_dim=8)).eval()
    output = headed(torch.randn(1, 2, 3, 32, 64), WORDS)
    presence, quality = quality_losses(output, targets([False, False]))
    assert quality.item() == 0
    assert presence.item() == pytest.approx(F.softplus(output.rating.presence).mean().item())
    presence, quality = quality_losses(output, targets([True, True]))
    assert quality.item() > 0
    assert presence.item() == pytest.approx(F.softplus(-output.rating.presence).mean().item())
