"""Long-RVOS: a PNG for each object and frame in which it is."""

import json

import numpy as np
import pytest

from pipeline.datasets import long_rvos
from pipeline.datasets.common import dataset_video
from pipeline.masks.png_file import SAVE_AS_PNG
from schemas import rle
from schemas.errors import InputError

FRAMES = ["00000", "00006", "00012"]


@pytest.fixture
def root(tmp_path, write_frames, write_masks, half):
    split = tmp_path / "valid"
    write_frames(split / "JPEGImages/a", FRAMES)
    write_masks(split / "Annotations/a/1", {"00000": 255 * half, "00012": np.zeros((6, 8))})
    expressions = {
        str(i): {"exp": f"the {kind} one", "obj_id": obj, "type": kind}
        for i, (kind, obj) in enumerate((("static", "1"), ("dynamic", "1"), ("hybrid", 2)))
    }
    (split / "meta_expressions.json").write_text(
        json.dumps({"videos": {"a": {"expressions": expressions, "frames": FRAMES}}})
    )
    return tmp_path


@pytest.mark.parametrize("below", ["", "valid"])
def test_layout(root, half, below):
    (found,) = long_rvos.read(str(root / below))
    assert [(pair["type"], pair["object_ids"], pair["split"]) for pair in found.pairs] == [
        ("static", ["1"], "valid"), ("dynamic", ["1"], "valid"), ("hybrid", ["2"], "valid"),
    ]  # fmt: skip
    rows = found.annotations.to_pylist()
    assert [(row["object_id"], row["frame_name"], row["counts"] is None) for row in rows] == [
        ("1", "00000", False), ("1", "00006", True), ("1", "00012", True),
        ("2", "00000", True), ("2", "00006", True), ("2", "00012", True),
    ]  # fmt: skip
    np.testing.assert_array_equal(rle.decode(rows[0]["counts"], 6, 8), half)
    assert [what for what, _ in found.warnings] == [dataset_video.NO_MASK_OF_OBJECT]


def test_without_truth_and_broken(root, write_masks):
    (root / "valid/Annotations/a/1/00006.png").write_bytes(b"no image")
    write_masks(root / "valid/Annotations/a/2", {"00000": np.ones((3, 3))})
    (found,) = long_rvos.read(str(root))
    assert "the mask cannot be read" in found.problems[0]
    assert "object 2 frame 00000: the mask is 3x3, others are 8x6" in found.problems[1]
    (root / "valid/Annotations").rename(root / "valid/gone")
    (found,) = long_rvos.read(str(root))
    assert not found.annotations.num_rows
    assert not found.warnings


def test_a_jpeg_among_the_masks_is_refused(root):
    """Its frame would count as one without the object."""
    mask = root / "valid/Annotations/a/1/00000.png"
    mask.rename(mask.with_suffix(".jpg"))
    (found,) = long_rvos.read(str(root))
    assert found.problems == [f"{mask.parent} has masks that are not PNGs, such as 00000.jpg; {SAVE_AS_PNG}"]


def test_errors(root, tmp_path):
    with pytest.raises(InputError, match="splits valid; choose one"):
        long_rvos.read(str(root), "test")
    with pytest.raises(InputError, match="no data set"):
        long_rvos.read(str(tmp_path / "gone"))


def test_scored_by_its_protocol(root, score_itself):
    summary = score_itself("long-rvos", root, "long-rvos", by=("type",))
    assert summary["overall"] | {"J&F": 1, "tIoU": 1, "vIoU": 1} == summary["overall"]
    assert {row["value"] for row in summary["by"]["type"]} == {"static", "dynamic", "hybrid"}


@pytest.mark.slow
@pytest.mark.ray
def test_benchmark(root, benchmark):
    found = benchmark("long-rvos", root, "--limit", "2")
    assert found["import"]["pairs"] == 3
    assert {row["value"]: row["n"] for row in found["evaluate"]["by"]["type"]} == {"static": 1, "dynamic": 1}
