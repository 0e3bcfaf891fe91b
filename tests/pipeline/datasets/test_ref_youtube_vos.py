"""The layout, what is read of it, and what is said about folders that are not quite it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import ref_youtube_vos
from pipeline.datasets.common import dataset_video
from pipeline.masks.png_file import SAVE_AS_PNG
from schemas.errors import InputError

EXPRESSION = {"exp": "a cat", "obj_id": "1"}


def write_data_set(base: Path, videos: dict, meta: Path | None = None, frames=("00000", "00005"), mask=1) -> Path:
    """A data set in `base` with images of `frames` for each video, and masks whose left half is `mask`."""
    path = (meta or base) / "meta_expressions.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"videos": videos}))
    for video_id in videos:
        for name in frames:
            for kind, suffix, pixels in (
                ("JPEGImages", "jpg", np.zeros((6, 8, 3), np.uint8)),
                ("Annotations", "png", np.repeat(np.uint8([[mask, 0]]), (4, 4), axis=1).repeat(6, axis=0)),
            ):
                folder = base / kind / video_id
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{name}.{suffix}")
    return base


def video(expressions: dict | None = None, frames=("00000", "00005"), **more) -> dict:
    return {"expressions": expressions or {"0": EXPRESSION}, "frames": list(frames), **more}


def read(root, split=None):
    return list(ref_youtube_vos.read(str(root), split))


def test_flat_layout(tmp_path):
    write_data_set(tmp_path, {"b": video(), "a": video({"0": EXPRESSION, "1": {"exp": "it", "obj_id": [1, "2"]}})})
    first, second = read(tmp_path)
    assert (first.video_id, second.video_id) == ("a", "b")
    assert first.pairs[1] == {
        "video_id": "a",
        "video_uri": str(tmp_path / "JPEGImages/a"),
        "expression_id": "1",
        "expression": "it",
        "frames": None,
        "num_frames": 2,
        "object_ids": ["1", "2"],
        "split": None,
    }
    assert [(row["object_id"], row["frame_index"]) for row in first.annotations.to_pylist()] == [
        ("1", 0), ("1", 1), ("2", 0), ("2", 1),
    ]  # fmt: skip
    assert [what for what, _ in first.warnings] == [dataset_video.NO_MASK_OF_OBJECT]


def test_published_layout(tmp_path):
    for split in ("train", "valid"):
        write_data_set(tmp_path / split, {split: video()}, meta=tmp_path / "meta_expressions" / split)
    assert read(tmp_path, "valid")[0].pairs[0]["split"] == "valid"
    assert read(tmp_path, "train")[0].pairs[0]["video_uri"] == str(tmp_path / "train/JPEGImages/train")
    for split in (None, "test", "../train"):
        with pytest.raises(InputError, match="train, valid; choose one with --split"):
            read(tmp_path, split)


def test_one_published_split_needs_no_choice(tmp_path):
    write_data_set(tmp_path / "valid", {"a": video()}, meta=tmp_path / "meta_expressions/valid")
    assert read(tmp_path)[0].pairs[0]["split"] == "valid"


def test_where_there_is_no_data_set(tmp_path):
    with pytest.raises(InputError, match="no data set in .*meta_expressions.json"):
        read(tmp_path)
    write_data_set(tmp_path, {"a": video()})
    with pytest.raises(InputError, match="leave --split out"):
        read(tmp_path, "valid")


def test_chosen_frames_are_kept_as_a_list(tmp_path):
    write_data_set(tmp_path, {"a": video(frames=("00005", "00020"))}, frames=("00000", "00005", "00010", "00020"))
    (found,) = read(tmp_path)
    assert found.pairs[0]["frames"] == ["00005", "00020"]
    assert found.pairs[0]["num_frames"] == 4
    assert found.annotations["frame_index"].to_pylist() == [0, 1, 2, 3]


def test_attributes(tmp_path):
    expression = EXPRESSION | {"kind": "static", "length": 2, "frames": 3, "annotator": "7", "nested": {"x": 1}}
    write_data_set(tmp_path, {"a": video({"0": expression}, scene="park")})
    objects = {"1": {"category": "cat", "frames": ["00000"]}}
    (tmp_path / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    pair = read(tmp_path)[0].pairs[0]
    extra = {name: pair[name] for name in ("kind", "length", "annotator", "scene", "category")}
    assert extra == {"kind": "static", "length": 2, "annotator": "7", "scene": "park", "category": "cat"}
    assert pair["frames"] is None
    assert "nested" not in pair
    (tmp_path / "meta.json").write_text('{"videos": []}')
    with pytest.raises(InputError, match=r"meta\.json must have the form"):
        read(tmp_path)


def test_warnings(tmp_path):
    write_data_set(tmp_path, {"a": video(frames=("00000", "00007"))})
    videos = {"a": video({"0": {"exp": " ", "obj_id": "9"}}, frames=("00000", "00007")), "gone": video()}
    (tmp_path / "meta_expressions.json").write_text(
        json.dumps({"videos": videos | {"mute": video() | {"expressions": {}}}})
    )
    warnings = {what for found in read(tmp_path) for what, _ in found.warnings}
    assert warnings == {
        dataset_video.SOME_FRAMES,
        dataset_video.NO_TEXT,
        dataset_video.NO_MASK_OF_OBJECT,
        dataset_video.NO_FRAMES,
        dataset_video.NO_EXPRESSIONS,
    }


def test_problems_of_masks(tmp_path):
    write_data_set(tmp_path, {"a": video(), "b": video()})
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "Annotations/a/00005.png")
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / "Annotations/a/00099.png")
    (tmp_path / "Annotations/b/00000.png").write_bytes(b"no image")
    first, second = read(tmp_path)
    assert "the mask is 9x6, the frames are 8x6" in first.problems[0]
    assert "the video has no frame 00099" in first.problems[1]
    assert "00000.png: the mask cannot be read" in second.problems[0]


@pytest.mark.parametrize("name", ["00005.jpg", "00005.JPEG", "00005.webp", "00005.tga", "00005.gif", "00005.npy"])
def test_masks_that_are_no_pngs_are_refused(tmp_path, name):
    """As the same folder is by 'rvos evaluate': the frame would count as not annotated."""
    write_data_set(tmp_path, {"a": video(), "b": video()})
    (tmp_path / "Annotations/a/00005.png").rename(tmp_path / "Annotations/a" / name)
    first, second = read(tmp_path)
    assert first.problems == [f"{tmp_path}/Annotations/a has masks that are not PNGs, such as {name}; {SAVE_AS_PNG}"]
    assert not second.problems


def test_other_files_next_to_masks_are_none(tmp_path):
    write_data_set(tmp_path, {"a": video()})
    for name in ("00005.jpg", "cover.jpg", "Thumbs.db", ".00007.png", "notes.txt"):
        (tmp_path / "Annotations/a" / name).write_bytes(b"x")
    (found,) = read(tmp_path)
    assert (found.problems, found.warnings, len(found.annotations)) == ([], [], 2)


def test_frames_and_videos_without_masks_are_counted(tmp_path):
    names = ("00000", "00005", "00010", "00015")
    write_data_set(tmp_path, {"a": video(frames=names), "b": video(frames=names)}, frames=names)
    for name in ("00005", "00010", "00015"):
        (tmp_path / "Annotations/a" / f"{name}.png").unlink()
    first, _ = read(tmp_path)
    assert not first.warnings  # only the first frame is annotated, as in the files of a challenge
    objects = {"1": {"category": "cat", "frames": ["00000", "00005", "00010", "00020"]}}
    (tmp_path / "meta.json").write_text(json.dumps({"videos": {"a": {"objects": objects}}}))
    (tmp_path / "Annotations/b/00015.png").unlink()
    first, second = read(tmp_path)
    assert first.warnings == [(dataset_video.NO_MASK_OF_FRAME, "a 00005 and 1 more")]
    assert second.warnings == [(dataset_video.NO_MASK_OF_FRAME, "b 00015")]
    shutil.rmtree(tmp_path / "Annotations/b")
    assert read(tmp_path)[1].warnings == [(dataset_video.NO_MASKS, "b")]


BAD_JSON = {
    "not valid JSON": "{",
    "duplicate key 'a'": '{"videos": {"a": 1, "a": 2}}',
    "must hold a JSON object": "[]",
    "'videos' must be an object": '{"video": {}}',
}


@pytest.mark.parametrize("text", BAD_JSON)
def test_bad_json(tmp_path, text):
    (tmp_path / "meta_expressions.json").write_text(BAD_JSON[text])
    with pytest.raises(InputError, match=text):
        read(tmp_path)


def test_form_problems_come_all_at_once(tmp_path):
    videos = {
        "../up": video(),
        "list": [],
        "frames": {"expressions": {}},
        "twice": video(frames=("1", "1")),
        "name": video(frames=("a/b",)),
        "expressions": {"frames": ["1"]},
        "pairs": video({"a/b": EXPRESSION, "no text": {}, "id": {"exp": "x", "obj_id": 1.5}}),
    }
    (tmp_path / "meta_expressions.json").write_text(json.dumps({"videos": videos}))
    with pytest.raises(InputError) as caught:
        read(tmp_path)
    text = str(caught.value)
    assert len(text.splitlines()) == 9
    for part in (
        "'../up'",
        "'list' must be an object",
        "'twice': duplicate frame",
        "'a/b'",
        "'no text': 'exp' must be a text",
        "obj_id must",
    ):
        assert part in text


@pytest.mark.parametrize("length", [214, 255])
def test_titles_as_long_as_the_file_system_takes(tmp_path, length):
    name = "t" * length
    write_data_set(tmp_path, {name: video()})
    (found,) = read(tmp_path)
    assert (found.video_id, found.problems) == (name, [])
    assert len(found.annotations)
