"""Each quality signal on masks with a known answer."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.masks.by_video import PairMasks
from pipeline.selection.quality_signals import QUALITY_SIGNALS, agreement, measure_masks, paraphrase_agreement
from schemas import rle
from schemas.masks import PREDICTIONS


def box(x: int, y: int, size: int = 4) -> np.ndarray:
    mask = np.zeros((30, 40), bool)
    mask[y : y + size, x : x + size] = True
    return mask


NOTHING = np.zeros((30, 40), bool)


def pair(masks: list[np.ndarray], scores: list[float] | None = None, expression: str = "0", objects=None) -> PairMasks:
    rows = [
        {"video_id": "v", "expression_id": expression, "frame_index": index, "height": 30, "width": 40}
        | {"counts": rle.encode(mask[None])[0], "score": (scores or [0.5] * len(masks))[index]}
        for index, mask in enumerate(masks)
    ]
    row = {"video_id": "v", "expression_id": expression, "object_ids": objects}
    return PairMasks(row, pa.Table.from_pylist(rows, schema=PREDICTIONS))


def test_a_steady_mask():
    found = measure_masks(pair([box(5, 5)] * 4, [0.9, 0.7, 0.8, 0.8]))
    assert set(found) == set(QUALITY_SIGNALS)
    assert found == pytest.approx(
        {
            "frames": 4, "mean_score": 0.8, "lowest_score": 0.7, "predicted_quality": None, "margin": None,
            "temporal_iou": 1, "lowest_temporal_iou": 1, "flicker": 0, "area": 16 / 1200, "area_jump": 1,
            "centroid_jump": 0, "fragments": 1, "border": 0, "empty": 0, "repeats": None,
            "paraphrases": None, "other_run": None, "least_other_run": None,
        }
    )  # fmt: skip


def test_the_margin_is_the_mean_over_frames_that_have_one():
    one = pair([box(5, 5)] * 3)
    margins = pa.array([0.5, None, 0.25], pa.float32())
    frames = one.frames.set_column(one.frames.column_names.index("margin"), "margin", margins)
    assert measure_masks(PairMasks(one.row, frames))["margin"] == pytest.approx(0.375)


def test_the_predicted_quality_is_that_of_the_pair():
    one = pair([box(5, 5)] * 3)
    quality = pa.array([0.75] * 3, pa.float32())
    frames = one.frames.set_column(one.frames.column_names.index("quality"), "quality", quality)
    assert measure_masks(PairMasks(one.row, frames))["predicted_quality"] == 0.75


def test_scores_that_are_not_finite_are_ignored():
    found = measure_masks(pair([box(5, 5)] * 3, [float("nan"), 0.5, float("inf")]))
    assert (found["mean_score"], found["lowest_score"]) == (0.5, 0.5)


def test_a_mask_that_jumps_grows_and_vanishes():
    found = measure_masks(pair([box(5, 5), box(8, 9), box(8, 9, 8), NOTHING, NOTHING, box(0, 0)]))
    assert found["temporal_iou"] == pytest.approx((0 + 16 / 64 + 0 + 1 + 0) / 5)
    assert found["lowest_temporal_iou"] == 0
    assert found["flicker"] == pytest.approx(2 / 5)
    assert found["area_jump"] == pytest.approx(4)
    assert found["centroid_jump"] == pytest.approx(5 / 50)  # by 3 and 4, of a frame of 30 x 40
    assert found["empty"] == pytest.approx(2 / 6)
    assert found["border"] == pytest.approx(1 / 4)


def test_pieces_that_touch_at_corners_are_one():
    assert measure_masks(pair([box(5, 5) | box(9, 9), box(5, 5) | box(10, 10)]))["fragments"] == pytest.approx(1.5)


def test_undefined_signals_are_none():
    found = measure_masks(pair([NOTHING]))
    unknown = {"margin", "temporal_iou", "lowest_temporal_iou", "flicker", "area", "area_jump", "centroid_jump"}
    assert {name for name, value in found.items() if value is None} == unknown | {
        "predicted_quality", "fragments", "border", "repeats", "paraphrases", "other_run", "least_other_run"
    }  # fmt: skip


def test_agreement_over_common_frames():
    one, other = pair([box(5, 5), NOTHING, box(1, 1), box(1, 1)]), pair([box(5, 7), NOTHING, NOTHING])
    assert agreement(one, other) == pytest.approx((8 / 24 + 1 + 0) / 3)
    assert agreement(one, pair([])) is None


def test_only_expressions_of_one_object_are_paraphrases():
    video = [
        pair([box(5, 5)], expression="0", objects=["1"]),
        pair([box(5, 7)], expression="1", objects=["1"]),
        pair([box(5, 5)], expression="2", objects=["2"]),
        pair([box(5, 5)], expression="3", objects=[]),
        pair([box(5, 5)], expression="4", objects=["1"]),
    ]
    third = 8 / 24
    assert paraphrase_agreement(video) == [pytest.approx((third + 1) / 2), pytest.approx(third), None, None,
                                           pytest.approx((third + 1) / 2)]  # fmt: skip
