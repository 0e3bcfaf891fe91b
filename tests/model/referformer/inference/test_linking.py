"""The rule that follows an object from window to window, and the sums of what windows say of shared frames."""

import pytest
import torch

from model.referformer.inference.linking import (
    OverlapAverage,
    link_query,
    mask_agreement,
    query_embeddings,
    update_appearance,
)

INSIDE = 6.0  # logit


def answers(places, value=0.0) -> OverlapAverage:
    """One window's, all numbers `value` and the place."""
    level = torch.tensor([value + place for place in places])
    return OverlapAverage.of_window(
        places, level[:, None, None].expand(-1, 2, 3), level / 100, level[:, None].expand(-1, 4)
    )


def squares(*columns: int | None) -> torch.Tensor:
    """Mask logits [frames, 4, 16]: a square of 4 x 4 at this column, or nothing."""
    masks = torch.full((len(columns), 4, 16), -INSIDE)
    for mask, column in zip(masks, columns, strict=True):
        if column is not None:
            mask[:, column : column + 4] = INSIDE
    return masks


def seam(masks: torch.Tensor, scores: list[float]) -> OverlapAverage:
    return OverlapAverage.of_window(range(len(masks)), masks, torch.tensor(scores), torch.zeros(len(masks), 4))


def logits(*scores: float) -> torch.Tensor:
    """[2, Q, 1], the same in both frames."""
    return torch.tensor(scores).logit().expand(2, -1)[..., None]


def test_shared_frames_are_the_mean_of_all_windows_that_saw_them():
    first, second, third = answers([0, 1, 2]), answers([1, 2, 3], 10.0), answers([2, 3, 4], 40.0)
    both = second.add(first.since(1))
    assert both.positions == (1, 2, 3)
    assert both.windows.tolist() == [2, 2, 1]
    assert both.logits[:, 0, 0].tolist() == [6, 7, 13]  # (1 + 11) / 2, (2 + 12) / 2, 13
    all_three = third.add(both.since(2))
    assert all_three.windows.tolist() == [3, 2, 1]
    assert all_three.logits[:, 1, 2].tolist() == pytest.approx([(2 + 12 + 42) / 3, (13 + 43) / 2, 44])
    assert all_three.boxes[:, 3].tolist() == pytest.approx(all_three.logits[:, 0, 0].tolist())
    assert second.windows.tolist() == [1, 1, 1]  # nothing is changed in place


def test_a_later_window_counts_as_far_as_it_agrees():
    earlier = seam(squares(0, 0, 0, None, 0), [0.8] * 5)
    later = seam(squares(0, 2, 8, None, None), [0.2] * 5)
    both = later.add(earlier)
    assert both.windows.tolist() == pytest.approx([2, 1 + 1 / 3, 1, 2, 1])
    assert both.scores.tolist() == pytest.approx([0.5, 0.65, 0.8, 0.5, 0.8])
    torch.testing.assert_close((both.logits > 0), squares(0, 0, 0, None, 0) > 0)
    third = seam(squares(0), [0.2]).add(both.at([0]))
    assert third.scores.tolist() == pytest.approx([0.4])
    assert third.windows.tolist() == [3]


def test_frames_that_nobody_saw_before_stay_as_they_are():
    alone = answers([5, 6])
    assert alone.add(answers([1, 2])) is alone
    assert alone.at([]).logits.shape == (0, 2, 3)
    assert alone.join(answers([8])).positions == (5, 6, 8)


def test_half_precision_is_blended_in_float32():
    half = torch.ones(1, 2, 2, dtype=torch.bfloat16)
    made = OverlapAverage.of_window([0], half, half[:, 0, 0], half[:, 0].repeat(1, 2))
    assert {x.dtype for x in (made.logits, made.scores, made.boxes)} == {torch.float32}


def test_looks_leave_out_what_all_queries_share_and_frames_without_the_object():
    torch.manual_seed(0)
    sentence, objects = 50 * torch.randn(8), torch.randn(3, 8)
    hidden = (sentence + objects).expand(4, -1, -1).clone()
    weights = torch.full((4, 3, 1), 4.0)
    plain = query_embeddings(hidden, weights)
    torch.testing.assert_close(plain.norm(dim=-1), torch.ones(3))
    assert (plain @ plain.T - torch.eye(3)).fill_diagonal_(0).max() < 0.1  # unlike, in spite of the common part
    hidden[2, 1], weights[2, 1] = 1000.0, -20.0  # the object is hidden in this frame
    torch.testing.assert_close(query_embeddings(hidden, weights), plain, atol=1e-3, rtol=0)


def test_one_query_has_no_look():
    assert query_embeddings(torch.randn(3, 1, 8), torch.zeros(3, 1, 1)).tolist() == [[0.0] * 8]


def test_mask_agreement_is_iou_times_belief():
    before = seam(squares(0, 2), [0.8, 0.6])
    candidates = torch.stack((squares(0, 2), squares(2, 4), squares(8, 10), squares(None, None)), dim=1)
    found = mask_agreement(before, candidates, confidence=0.0)
    assert found.tolist() == pytest.approx([0.7, 0.7 / 3, 0.0, 0.0], abs=0.01)


def test_frames_in_which_the_object_is_hidden_or_doubted_decide_little():
    candidates = torch.stack((squares(0, 8), squares(4, 8)), dim=1)
    hidden = mask_agreement(seam(squares(0, None), [0.8, 0.8]), candidates, confidence=0.0)
    assert hidden.tolist() == pytest.approx([0.4, 0.0], abs=0.01)  # the second frame says nothing
    slipped = mask_agreement(seam(squares(0, 4), [0.9, 0.1]), candidates, confidence=0.0)
    assert slipped[0] > 4 * slipped[1]
    assert mask_agreement(seam(squares(4, 8), [0.2, 0.1]), candidates, confidence=0.6).tolist() == [0.0, 0.0]
    assert mask_agreement(seam(squares(4, 8), [0.4, 0.1]), candidates, confidence=0.6)[1] > 0.1
    nothing = mask_agreement(seam(squares(None, None), [0.8, 0.8]), candidates, confidence=0.0)
    assert nothing.tolist() == [0.0, 0.0]


def test_what_is_not_a_number_agrees_with_nothing():
    broken = squares(0)[:, None].repeat(1, 2, 1, 1)
    broken[:, 1] = torch.nan
    assert mask_agreement(seam(squares(0), [0.5]), broken, confidence=0.0).tolist() == pytest.approx(
        [0.5, 0.0], abs=0.01
    )


def test_agreement_settles_what_the_score_leaves_open():
    looks = torch.eye(3)
    close = logits(0.5, 0.55, 0.1)
    unknown = torch.zeros(3)
    assert link_query(close, looks, unknown, None) == 1
    assert link_query(close, looks, 0.6 * looks[0], None) == 0
    assert link_query(close, looks, unknown, torch.tensor([0.6, 0.0, 0.0])) == 0
    assert link_query(close, looks, 0.6 * looks[1], torch.tensor([0.4, 0.0, 0.0])) == 1


def test_a_query_that_is_better_by_far_takes_over():
    looks = torch.eye(2)
    assert link_query(logits(0.2, 0.9), looks, 0.5 * looks[0], torch.tensor([0.5, 0.0])) == 1
    assert link_query(logits(0.2, 0.4), looks, 0.5 * looks[0], torch.tensor([0.5, 0.0])) == 0


def test_doubtful_windows_bind_little():
    looks = torch.eye(2)
    assert link_query(logits(0.3, 0.5), looks, 0.9 * looks[0], None) == 0
    assert link_query(logits(0.3, 0.5), looks, 0.1 * looks[0], None) == 1


def test_the_look_remembers_an_object_that_was_away():
    here, other = torch.eye(2)
    look = update_appearance(update_appearance(None, here, 0.8), other, 0.1)
    assert look @ here > 3 * (look @ other)
    assert update_appearance(look, here, 0.8).norm() < 1
