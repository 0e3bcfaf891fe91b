"""MeViS in both versions: several objects, none, masks by frame from one large file."""

import json

import numpy as np
import pytest

from pipeline.datasets import mevis
from pipeline.datasets.common import dataset_video, json_file, mask_dict
from schemas import rle
from schemas.errors import InputError

FRAMES = ["00000", "00001", "00002"]


def coco(mask) -> dict:
    return {"size": list(mask.shape), "counts": rle.encode(mask[None])[0].decode()}


@pytest.fixture
def root(tmp_path, write_frames, half):
    """Split valid_u with two videos; sentences of one object, two, and none."""
    split = tmp_path / "mevis/valid_u"
    for video in ("b", "a"):
        write_frames(split / "JPEGImages" / video, FRAMES)
    one = {"exp": "cat going left", "obj_id": [0], "anno_id": [7]}
    two = {"exp": "both cats, moving", "obj_id": [0, 1], "anno_id": [7, 12], "type": "motion"}
    none = {"exp": "dog", "obj_id": [], "anno_id": []}
    videos = {
        "b": {"expressions": {"0": {"exp": "x", "obj_id": [2], "anno_id": [3]}}, "vid_id": 1, "frames": FRAMES},
        "a": {"expressions": {"0": one, "1": two, "2": none}, "vid_id": 0, "frames": FRAMES},
    }
    (split / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    full = np.ones_like(half)
    masks = {"7": [coco(half), None, coco(full)], "3": [None] * 3, "12": [coco(~half)] * 3}
    (split / "mask_dict.json").write_text(json.dumps(masks))
    return tmp_path / "mevis"


def test_layout(root, half, monkeypatch):
    monkeypatch.setattr(json_file, "CHUNK", 50)
    first, second = mevis.read(str(root), "valid_u")
    assert (first.video_id, second.video_id) == ("a", "b")
    assert [pair["object_ids"] for pair in first.pairs] == [["7"], ["7", "12"], []]
    assert first.pairs[1] == {
        "video_id": "a",
        "video_uri": str(root / "valid_u/JPEGImages/a"),
        "expression_id": "1",
        "expression": "both cats, moving",
        "frames": None,
        "num_frames": 3,
        "object_ids": ["7", "12"],
        "split": "valid_u",
        "vid_id": 0,
        "type": "motion",
    }
    rows = first.annotations.to_pylist()
    assert [(row["object_id"], row["frame_name"]) for row in rows] == [(o, f) for o in ("7", "12") for f in FRAMES]
    assert rows[1]["counts"] is None
    np.testing.assert_array_equal(rle.decode(rows[0]["counts"], 6, 8), half)
    assert [row["counts"] for row in second.annotations.to_pylist()] == [None] * 3
    assert [what for what, _ in second.warnings] == [dataset_video.NO_MASK_OF_OBJECT]
    assert not first.problems
    assert not second.problems


def test_masks_go_by_the_listed_frames_and_indices_by_all(root, write_frames):
    write_frames(root / "valid_u/JPEGImages/b", ["0000"])
    found = list(mevis.read(str(root)))[1]
    assert found.annotations["frame_index"].to_pylist() == [1, 2, 3]
    assert found.pairs[0]["frames"] == FRAMES


def test_the_folder_of_a_split_itself(root):
    assert next(iter(mevis.read(str(root / "valid_u")))).pairs[0]["split"] == "valid_u"


def test_second_version(root):
    v1 = root / "valid_u/meta_expressions.json"
    content = json.loads(v1.read_text())
    assert len(list(mevis.read_v2(str(root)))) == 2  # under the name of the first, where it is alone
    del content["videos"]["b"]
    (root / "valid_u/meta_expressions_v2.json").write_text(json.dumps(content))
    assert [video.video_id for video in mevis.read_v2(str(root))] == ["a"]
    assert len(list(mevis.read(str(root)))) == 2
    release = {"videos": {"a": {"frames": FRAMES, "expressions": {"0": {"exp": "x"}}}}}
    (root / "valid").mkdir()
    (root / "valid/meta_expressions_v2_release.json").write_text(json.dumps(release))
    (found,) = mevis.read_v2(str(root), "valid")
    assert found.pairs[0]["object_ids"] is None
    assert not found.annotations.num_rows


def test_errors(root, tmp_path):
    masks = json.loads((root / "valid_u/mask_dict.json").read_text())
    masks["7"][0]["counts"] = "0"
    masks["12"] = masks["12"][:2]
    del masks["3"]
    (root / "valid_u/mask_dict.json").write_text(json.dumps(masks))
    first, second = mevis.read(str(root))
    assert "object 7 frame 00000: runs total 0" in first.problems[0]
    assert "annotation 12: 2 masks for 3 frames" in first.problems[1]
    assert second.skipped == [(mask_dict.NOT_IN_FILE, "b expression 0 annotation 3")]
    assert not second.pairs
    with pytest.raises(InputError, match="has the splits valid_u; choose one"):
        mevis.read(str(root), "train")
    with pytest.raises(InputError, match="no data set in"):
        mevis.read(str(tmp_path))
    with pytest.raises(InputError, match="no data set in"):
        mevis.read(str(tmp_path / "gone"))


def test_scored_by_its_protocol(root, score_itself):
    summary = score_itself("mevis", root, "mevis", by=("num_targets", "type"))
    assert summary["overall"] | {"J&F": 1, "N-acc": 1} == summary["overall"]
    assert summary["overall"]["T-acc"] == pytest.approx(2 / 3)  # the object of video b is in no frame
    assert {row["value"]: row["n"] for row in summary["by"]["num_targets"]} == {0: 1, 1: 2, 2: 1}


def test_pairs_with_an_annotation_that_the_masks_lack_are_left_out(root):
    """No annotation is better than a wrong one: the object is not absent, nobody knows where it is."""
    uri = root / "valid_u/mask_dict.json"
    masks = json.loads(uri.read_text())
    del masks["12"]
    uri.write_text(json.dumps(masks))
    first, _ = mevis.read(str(root))
    assert [pair["expression_id"] for pair in first.pairs] == ["0", "2"]
    assert set(first.annotations["object_id"].to_pylist()) == {"7"}
    assert first.skipped == [(mask_dict.NOT_IN_FILE, "a expression 1 annotation 12")]
    uri.write_text(json.dumps({"99": masks["7"]}))
    with pytest.raises(InputError, match="no mask of any annotation that the sentences mean, such as 7"):
        list(mevis.read(str(root)))
    for content, message in (("{}", "holds no annotations"), ("[1, 2]", "must be an object")):
        uri.write_text(content)
        with pytest.raises(InputError, match=message):
            list(mevis.read(str(root)))


def test_a_video_whose_sentences_all_mean_nothing_is_scored(root, score_itself):
    uri = root / "valid_u/meta_expressions.json"
    document = json.loads(uri.read_text())
    document["videos"]["b"]["expressions"] = {"0": {"exp": "dog", "obj_id": [], "anno_id": []}}
    uri.write_text(json.dumps(document))
    _, second = mevis.read(str(root))
    assert [row["counts"] for row in second.annotations.to_pylist()] == [None] * 3
    summary = score_itself("mevis", root, "mevis")
    assert summary["pairs"]["scored"] == 4
    assert summary["overall"]["N-acc"] == 1


@pytest.mark.slow
@pytest.mark.ray
def test_benchmark(root, benchmark):
    found = benchmark("mevis", root)
    assert found["evaluate"]["overall"]["n"] == found["import"]["pairs"] == 4
