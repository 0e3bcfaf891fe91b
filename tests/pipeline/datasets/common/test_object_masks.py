import numpy as np
import pytest
from pycocotools import mask as coco

from pipeline.datasets import coco_video
from pipeline.datasets.common.dataset_video import DatasetVideo
from pipeline.datasets.common.object_masks import OTHER_SIZE, ObjectMasks, from_coco
from schemas import rle
from schemas.check import conform
from schemas.masks import ANNOTATIONS


def test_both_forms_of_coco(half):
    compressed = coco.encode(np.asfortranarray(half.astype(np.uint8)))
    runs = {"size": [6, 8], "counts": [0, 24, 24]}
    floats = {"size": [6.0, 8.0], "counts": [0.0, 24.0, 24.0]}  # as pandas, MATLAB and JavaScript write whole numbers
    for value in ({"size": [6, 8], "counts": compressed["counts"].decode()}, runs, floats):
        counts, size = from_coco(value)
        assert size == (6, 8)
        assert counts == compressed["counts"]
        np.testing.assert_array_equal(rle.decode(counts, *size), half)


BAD = [
    {"size": [6, 8], "counts": "0"},
    {"size": [6, 8], "counts": [1, 2]},
    {"size": [6, 8], "counts": [-1, 49]},
    {"size": [6, 8], "counts": [0.5, 47.5]},
    {"size": [6, 8], "counts": "é"},
    {"size": [6, 8], "counts": None},
    {"size": [6, 10**9], "counts": [6 * 10**9]},
    {"size": [6], "counts": [48]},
    {"size": [6.5, 8], "counts": [52]},
    {"size": ["6", 8], "counts": [48]},
    {"size": [float("inf"), 8], "counts": [48]},
    {"counts": [48]},
    [1, 2, 3],
    "x",
]


@pytest.mark.parametrize("value", BAD, ids=str)
def test_what_is_no_rle(value):
    with pytest.raises(rle.RleError):
        from_coco(value)


def test_rows_and_problems(half):
    found = DatasetVideo("v")
    tracks = ObjectMasks(found, ["a", "b", "c"], (6, 8))
    mask = rle.encode(half[None])[0]
    tracks.add("10", "c", mask, (6, 8))
    tracks.add("2", "b", None)
    tracks.add("2", "a", mask, (6, 8))
    tracks.add("2", "z", mask, (6, 8))
    tracks.add("2", "c", mask, (8, 6))
    tracks.add_coco("2", "c", BAD[0])
    rows = conform(tracks.annotations(), ANNOTATIONS, "test").to_pylist()
    assert [(row["object_id"], row["frame_index"], row["counts"]) for row in rows] == [
        ("2", 0, mask), ("2", 1, None), ("10", 2, mask),
    ]  # fmt: skip
    assert tracks.seen == {"2", "10"}
    assert [problem.partition(":")[0] for problem in found.problems] == [f"object 2 frame {name}" for name in "zcc"]
    assert "the mask is 6x8, others are 8x6" in found.problems[1]


def test_images_of_another_size(half):
    found = DatasetVideo("v")
    tracks = ObjectMasks(found, ["a", "b"], frame_size=(3, 4))
    tracks.add("1", "a", rle.encode(half[None])[0], half.shape)
    tracks.add("1", "b", None)
    assert [(row["height"], row["width"]) for row in tracks.annotations().to_pylist()] == [(6, 8)] * 2
    assert found.warnings == [(OTHER_SIZE, "v: masks 8x6, images 4x3")]
    absent = ObjectMasks(found, ["a"], frame_size=(3, 4))
    absent.add("1", "a", None)
    assert absent.annotations()["height"].to_pylist() == [3]


@pytest.mark.parametrize(
    "polygon",
    [[0, 0, 900, 900] * 2000, [0, 0, 1e300, 0, 1, 1], [0, 0, True, 0, 1, 1], [0, 0, 1, 1], [0.0] * 7],
    ids=["zigzag", "far", "bool", "two corners", "odd"],
)
def test_polygons_that_would_cost_memory_are_problems(polygon):
    assert coco_video._draw_polygons([polygon], (1000, 1000)) == [polygon]
