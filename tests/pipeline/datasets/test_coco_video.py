"""COCO for videos: YouTube-VIS as published, and the two forms in which others put sentences into it."""

import json

import numpy as np
import pytest

from pipeline.datasets import coco_video
from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import NO_MASK_OF_OBJECT
from schemas import rle
from schemas.errors import InputError

FILES = ["v1/00000.jpg", "v1/00005.jpg"]
VIDEO = {"id": 1, "height": 6, "width": 8, "length": 2, "file_names": FILES}
CATEGORIES = [{"id": 1, "name": "person"}, {"id": 7, "name": "dog"}]
LEFT = {"size": [6, 8], "counts": [0, 24, 24]}


def annotation(number: int, **more) -> dict:
    common = {"id": number, "video_id": 1, "category_id": 1, "iscrowd": 0, "segmentations": [LEFT, None]}
    return {"id": number, "areas": [24, None], "bboxes": [[0, 0, 4, 6], None], **common, **more}


def write(root, videos, annotations, name="instances.json"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"info": {}, "videos": videos, "annotations": annotations, "categories": CATEGORIES}))
    return path


def test_youtube_vis(tmp_path, write_frames, half, monkeypatch):
    monkeypatch.setattr(json_file, "CHUNK", 30)
    write_frames(tmp_path / "train/JPEGImages/v1", ["00000", "00005"])
    polygon = [[0, 0, 3.5, 0, 3.5, 5.5, 0, 5.5]]
    annotations = [
        annotation(3),
        annotation(4, category_id=7, segmentations=[polygon, LEFT]),
        annotation(5),
        annotation(6, iscrowd=1),
    ]
    write(tmp_path, [VIDEO], annotations, "train.json")
    (found,) = coco_video.read(str(tmp_path), "train")
    assert [
        (pair["expression_id"], pair["expression"], pair["object_ids"], pair["category"]) for pair in found.pairs
    ] == [("1", "person", ["3", "5"], "person"), ("7", "dog", ["4"], "dog")]
    assert found.pairs[0]["video_uri"] == str(tmp_path / "train/JPEGImages/v1")
    rows = found.annotations.to_pylist()
    assert [(row["object_id"], row["frame_name"], row["counts"] is None) for row in rows] == [
        ("3", "00000", False), ("3", "00005", True),
        ("4", "00000", False), ("4", "00005", False),
        ("5", "00000", False), ("5", "00005", True),
    ]  # fmt: skip
    np.testing.assert_array_equal(rle.decode(rows[0]["counts"], 6, 8), half)
    assert rle.decode(rows[2]["counts"], 6, 8).sum() == pytest.approx(24, abs=6)
    assert (found.warnings, [what for what, _ in found.skipped]) == ([], [coco_video.CROWDS])
    assert not found.problems


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("valid.json", "valid/JPEGImages"),
        ("valid/instances.json", "valid/JPEGImages"),
        ("annotations_valid.json", "valid"),
        ("annotations/valid.json", "JPEGImages"),
    ],
)
def test_where_files_may_lie(tmp_path, write_frames, name, frames):
    write_frames(tmp_path / frames / "v1", ["00000", "00005"])
    write(tmp_path, [VIDEO], [annotation(1)], name)
    (found,) = coco_video.read(str(tmp_path), "valid")
    (same,) = coco_video.read(str(tmp_path / name))
    assert found.pairs[0]["video_uri"] == same.pairs[0]["video_uri"] == str(tmp_path / frames / "v1")


def test_sentences_of_annotations(tmp_path):
    """Of one object each, with masks or without."""
    annotations = [
        annotation(0, expressions=["the man"], exp_id="4"),
        annotation(1, expressions=["a", "b"], kind="static"),
        annotation(2, expression="withheld", segmentations=None),
    ]
    write(tmp_path, [VIDEO], annotations)
    (found,) = coco_video.read(str(tmp_path))
    assert [(pair["expression_id"], pair["expression"], pair["object_ids"]) for pair in found.pairs] == [
        ("4", "the man", ["0"]), ("0", "a", ["1"]), ("1", "b", ["1"]), ("2", "withheld", None),
    ]  # fmt: skip
    assert found.pairs[1]["kind"] == "static"


def test_sentences_of_video_entries(tmp_path):
    """An entry for each sentence; all of one folder are one video."""
    videos = [VIDEO | {"id": 10 + i, "expressions": [text], "exp_id": str(i)} for i, text in enumerate("xy")]
    write(tmp_path, videos, [annotation(1, video_id=10), annotation(2, video_id=11), annotation(3, video_id=11)])
    (found,) = coco_video.read(str(tmp_path))
    assert [(pair["expression_id"], pair["expression"], pair["object_ids"]) for pair in found.pairs] == [
        ("0", "x", ["1"]), ("1", "y", ["2", "3"]),
    ]  # fmt: skip
    path = write(tmp_path, videos, [])
    (found,) = coco_video.read(str(path))
    assert [pair["object_ids"] for pair in found.pairs] == [None, None]
    videos[1]["file_names"] = FILES[:1]
    write(tmp_path, videos, [])
    with pytest.raises(InputError, match="lists other frames of v1"):
        coco_video.read(str(path))


def test_problems_of_the_form_come_all_at_once(tmp_path):
    videos = [
        VIDEO,
        VIDEO,
        {"height": 6},
        VIDEO | {"id": 2, "file_names": ["../x/1.jpg"]},
        VIDEO | {"id": 3, "file_names": ["a/1.jpg", "b/1.jpg"]},
        VIDEO | {"id": 4, "file_names": ["1.jpg"]},
        VIDEO | {"id": 5, "height": 10**6},
        VIDEO | {"id": 6, "file_names": []},
    ]
    annotations = [annotation(1, video_id=99), annotation(2, id="../x"), annotation(3), annotation(3)]
    annotations += [annotation(4, category_id=99), annotation(5, category_id={}), annotation(6, video_id={})]
    write(tmp_path, videos, annotations)
    with pytest.raises(InputError) as caught:
        coco_video.read(str(tmp_path))
    lines = str(caught.value).splitlines()
    assert len(lines) == 13
    parts = [
        *("duplicate video", "'id' is missing", "'..'", "one folder", "one folder", "height and width"),
        *("'file_names' must be", "unknown video '99'", "'../x'", "duplicate annotation 3"),
        *("unknown category '99'", "unknown category {}", "unknown video {}"),
    ]
    for line, part in zip(lines, parts, strict=True):
        assert part in line


def test_problems_of_masks(tmp_path):
    far = [[0, 0, 1e9, 0, 1e9, 1e9]]
    annotations = [
        annotation(1, segmentations=[LEFT]),
        annotation(2, segmentations=[{"size": [6, 8], "counts": [1]}, far]),
        annotation(3, segmentations=[{"size": [8, 6], "counts": [48]}, [[1, 2, 3, 4]]]),
    ]
    write(tmp_path, [VIDEO], annotations)
    (found,) = coco_video.read(str(tmp_path))
    assert [problem.partition(":")[0] for problem in found.problems] == [
        "annotation 1", "object 2 frame 00000", "object 2 frame 00005", "object 3 frame 00000", "object 3 frame 00005",
    ]  # fmt: skip


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no JSON file"):
        coco_video.read(str(tmp_path))
    with pytest.raises(InputError, match="none of"):
        coco_video.read(str(tmp_path), "train")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no list 'videos'"):
        coco_video.read(str(tmp_path))
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match=r"holds a\.json, b\.json"):
        coco_video.read(str(tmp_path))


@pytest.mark.parametrize("sentences", [{"expressions": [{"exp": "a"}]}, {"expression": {"a": 1}}])
def test_sentences_of_another_form(tmp_path, sentences):
    video = {"id": 1, "height": 6, "width": 8, "file_names": ["v/0.jpg"]} | sentences
    (tmp_path / "a.json").write_text(json.dumps({"videos": [video]}))
    with pytest.raises(InputError, match="must be a text or a list of texts"):
        coco_video.read(str(tmp_path / "a.json"))


def test_a_file_of_another_form(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"videos": {"v": {"frames": ["0"]}}}))
    with pytest.raises(InputError, match="'videos' must be a list, as in YouTube-VIS"):
        coco_video.read(str(tmp_path / "a.json"))


def test_ids_that_pandas_wrote_as_floats(tmp_path, write_frames, half):
    write_frames(tmp_path / "JPEGImages/v", ["00000"])
    mask = {"size": [6, 8], "counts": rle.encode(half[None])[0].decode()}
    entry = {"id": 3.0, "video_id": 1.0, "category_id": 2.0, "iscrowd": 0, "segmentations": [mask]}
    document = {
        "videos": [{"id": 1.0, "width": 8.0, "height": 6.0, "length": 1, "file_names": ["v/00000.jpg"]}],
        "categories": [{"id": 2.0, "name": "dog"}],
        "annotations": [entry],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    (found,) = coco_video.read(str(tmp_path / "a.json"))
    assert found.annotations["object_id"].to_pylist() == ["3"]
    assert found.pairs[0]["expression"] == "dog"


@pytest.mark.parametrize(
    ("flag", "is_crowd"),
    [(0, False), ("0", False), (0.0, False), ("False", False), ("1", True), (1.0, True), (True, True)],
)
def test_ids_and_flags_of_other_types(tmp_path, flag, is_crowd):
    """Programs write ids as texts or numbers, and booleans as either."""
    write(tmp_path, [VIDEO], [annotation(1, id="1", video_id="1", iscrowd=flag)])
    (found,) = coco_video.read(str(tmp_path))
    assert (len(found.pairs), len(found.skipped)) == ((0, 1) if is_crowd else (1, 0))


def test_a_flag_of_no_known_form(tmp_path):
    write(tmp_path, [VIDEO], [annotation(1, iscrowd="maybe"), annotation(2, iscrowd=[0])])
    with pytest.raises(InputError, match=r"'iscrowd' must be 0 or 1, got 'maybe'\n.*got \[0\]"):
        coco_video.read(str(tmp_path))


def test_objects_outside_the_picture_are_no_objects(tmp_path):
    """Objects are cut at the border of the picture. One that lies outside of it is reported."""
    inside, outside = [[-4, -4, 4, -4, 4, 3, -4, 3]], [[9, 7, 12, 7, 12, 9]]
    annotations = [annotation(1, segmentations=[inside, inside]), annotation(2, segmentations=[outside, None])]
    for one in annotations:
        one["expression"] = "the dog"
    write(tmp_path, [VIDEO], annotations)
    (found,) = coco_video.read(str(tmp_path))
    assert (
        rle.decode(found.annotations.to_pylist()[0]["counts"], 6, 8).nonzero()[0].tolist()
        == [0] * 4 + [1] * 4 + [2] * 4
    )
    assert [place for what, place in found.warnings if what == NO_MASK_OF_OBJECT] == ["v1 expression 1 object 2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"videos": [], "annotations": [{"id": NaN}]}', "NaN is not JSON; write null"),
        ('{"videos": [{"id": -Infinity}]}', "Infinity is not JSON; write null"),
        ('{"videos": []}'.encode("utf-16"), "its text is UTF-16; save it as UTF-8"),
        ('{"images": [{"id": 1}], "annotations": [{"id": 1, "image_id": 1}]}', "has no list 'videos'"),
    ],
)
def test_json_that_other_programs_write(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        coco_video.read(str(tmp_path / "a.json"))
