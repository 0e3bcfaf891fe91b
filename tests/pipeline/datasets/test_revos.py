"""ReVOS: two splits in one folder, kinds of sentences, and the foreground that its measure R needs."""

import json

import numpy as np
import pytest

from pipeline.datasets import revos
from schemas import rle
from schemas.errors import InputError

FRAMES = ["00000", "00005"]


def coco(mask) -> dict:
    return {"size": list(mask.shape), "counts": rle.encode(mask[None])[0].decode()}


@pytest.fixture
def root(tmp_path, write_frames, half):
    write_frames(tmp_path / "JPEGImages/OVIS/a", FRAMES)
    expressions = {
        "0": {"exp": "what can fly?", "obj_id": [1], "anno_id": [5], "type_id": 1},
        "1": {"exp": "the bird", "obj_id": [1], "anno_id": [5], "type_id": 0},
    }
    video = {"expressions": expressions, "frames": FRAMES, "height": 6, "width": 8}
    for split in ("train", "valid"):
        (tmp_path / f"meta_expressions_{split}_.json").write_text(json.dumps({"videos": {"OVIS/a": video}}))
    (tmp_path / "mask_dict.json").write_text(json.dumps({"5": [coco(half), None], "6": [None, None]}))
    foreground = {"OVIS/a": {"masks_rle": [coco(half), coco(np.ones_like(half))], "foreground_ratio": [0.5, 1]}}
    (tmp_path / "mask_dict_foreground.json").write_text(json.dumps(foreground))
    return tmp_path


def test_layout(root):
    (found,) = revos.read(str(root), "valid")
    assert found.video_id == "OVIS__a"
    assert [(pair["type_id"], pair["object_ids"], pair["split"]) for pair in found.pairs] == [
        (1, ["5"], "valid"), (0, ["5"], "valid"),
    ]  # fmt: skip
    assert found.pairs[0]["video_uri"] == str(root / "JPEGImages/OVIS/a")
    assert [(row["object_id"], row["counts"] is None) for row in found.annotations.to_pylist()] == [
        ("5", False), ("5", True),
    ]  # fmt: skip
    assert [rle.decode(row["counts"], 6, 8).sum() for row in found.foreground.to_pylist()] == [24, 48]
    assert not found.problems
    assert not found.warnings


def test_without_foreground(root):
    (root / "mask_dict_foreground.json").unlink()
    (found,) = revos.read(str(root), "train")
    assert [what for what, _ in found.warnings] == [revos.NO_FOREGROUND]


def test_errors(root, tmp_path):
    with pytest.raises(InputError, match="splits train, valid; choose one"):
        revos.read(str(root))
    foreground = {"OVIS/a": {"masks_rle": [None]}}
    (root / "mask_dict_foreground.json").write_text(json.dumps(foreground))
    (found,) = revos.read(str(root), "train")
    assert "1 mask for 2 frames" in found.problems[0]
    with pytest.raises(InputError, match="not found"):
        revos.read(str(tmp_path / "gone"))


def test_scored_by_its_protocol(root, score_itself):
    summary = score_itself("revos", root, "revos", split="valid")
    assert summary["overall"] | {"J&F": 1, "A": 1, "R": 1} == summary["overall"]


@pytest.mark.slow
@pytest.mark.ray
def test_benchmark(root, benchmark):
    found = benchmark("revos", root)
    assert {row["value"] for row in found["evaluate"]["by"]["type_id"]} == {0, 1}
    assert {"A", "R"} <= set(found["evaluate"]["overall"])
