"""DAVIS in its releases of 2016 and 2017."""

import json

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets import davis
from pipeline.masks.png_file import SAVE_AS_PNG
from schemas import rle
from schemas.errors import InputError

FRAMES = ["00000", "00001"]


@pytest.fixture
def root(tmp_path, write_frames, write_masks, half):
    """The release of 2017: two videos, of which one has two objects and void pixels."""
    base = tmp_path / "DAVIS"
    labels = np.where(half, 1, 2)
    labels[0, 0] = 255
    for video in ("bear", "dogs"):
        write_frames(base / "JPEGImages/480p" / video, FRAMES)
    write_masks(base / "Annotations/480p/bear", dict.fromkeys(FRAMES, 1 * half))
    write_masks(base / "Annotations/480p/dogs", {"00000": labels, "00001": 1 * half})
    for year, videos in (("2017", "bear\ndogs\n"), ("2016", "dogs\n")):
        (base / "ImageSets" / year).mkdir(parents=True)
        (base / "ImageSets" / year / "val.txt").write_text(videos)
    return tmp_path


def test_2017(root, half):
    (root / "DAVIS/davis_semantics.json").write_text(json.dumps({"dogs": {"1": "dog", "2": "leash"}}))
    bear, dogs = davis.read(str(root), "val")
    assert not bear.pairs
    assert [(pair["expression"], pair["object_ids"], pair["split"]) for pair in dogs.pairs] == [
        ("dog", ["1"], "2017/val"), ("leash", ["2"], "2017/val"),
    ]  # fmt: skip
    assert dogs.pairs[0]["video_uri"] == str(root / "DAVIS/JPEGImages/480p/dogs")
    assert [(row["object_id"], row["counts"] is None) for row in dogs.annotations.to_pylist()] == [
        ("1", False), ("1", False), ("2", False), ("2", True),
    ]  # fmt: skip
    assert dogs.void.num_rows == 1
    assert not bear.problems
    assert not dogs.problems


def test_a_list_that_begins_with_a_byte_order_mark(root):
    """Editors on Windows write one, and CRLF."""
    (root / "DAVIS/ImageSets/2017/val.txt").write_bytes(b"\xef\xbb\xbfbear\r\ndogs \r\n\r\n")
    assert [(video.video_id, video.warnings) for video in davis.read(str(root), "val")] == [("bear", []), ("dogs", [])]


def test_2016_is_one_object(root):
    (root / "DAVIS/davis_semantics.json").write_text(json.dumps({"dogs": {"1": "dog", "2": "leash"}}))
    (found,) = davis.read(str(root / "DAVIS"), "2016/val")
    assert [(pair["expression"], pair["object_ids"]) for pair in found.pairs] == [("dog and leash", ["1"])]
    assert [rle.decode(row["counts"], 6, 8).sum() for row in found.annotations.to_pylist()] == [48, 24]


def test_first_release(root, write_masks, half):
    """Masks of 0 and 255, a few of them in colour; lists of images."""
    base = root / "DAVIS"
    write_masks(base / "Annotations/480p/bear", {"00000": 255 * half, "00001": np.dstack([255 * half] * 3)})
    (base / "ImageSets/480p").mkdir()
    lines = [f"/JPEGImages/480p/bear/{name}.jpg /Annotations/480p/bear/{name}.png" for name in FRAMES]
    (base / "ImageSets/480p/train.txt").write_text("\n".join(lines))
    (found,) = davis.read(str(base), "480p/train")
    assert found.video_id == "bear"
    assert [rle.decode(row["counts"], 6, 8).sum() for row in found.annotations.to_pylist()] == [24, 24]
    assert not found.void.num_rows


@pytest.mark.parametrize("split", ["2017/val", "2016/val"])
def test_a_jpeg_among_the_masks_is_refused(root, split):
    mask = root / "DAVIS/Annotations/480p/dogs/00001.png"
    mask.rename(mask.with_suffix(".jpg"))
    found = list(davis.read(str(root), split))[-1]
    assert found.problems == [f"{mask.parent} has masks that are not PNGs, such as 00001.jpg; {SAVE_AS_PNG}"]


def test_masks_without_images(root):
    for path in (root / "DAVIS/JPEGImages/480p").rglob("*.jpg"):
        path.unlink()
    found = list(davis.read(str(root), "2017/val"))[1]
    assert found.annotations["frame_index"].to_pylist() == [0, 1, 0, 1]


def test_the_only_split_need_not_be_named(root):
    (root / "DAVIS/ImageSets/2016/val.txt").unlink()
    assert [found.video_id for found in davis.read(str(root))] == ["bear", "dogs"]


def test_errors(root, tmp_path):
    with pytest.raises(InputError, match="splits 2016/val, 2017/val; choose one"):
        davis.read(str(root))
    with pytest.raises(InputError, match="choose one"):
        davis.read(str(root), "train")
    with pytest.raises(InputError, match="no DAVIS in"):
        davis.read(str(tmp_path / "gone"))
    (root / "DAVIS/ImageSets/2017/val.txt").write_text("..\n")
    with pytest.raises(InputError, match="cannot be a file name"):
        davis.read(str(root), "2017/val")
    (root / "DAVIS/ImageSets/2017/val.txt").write_text("bear\n")
    Image.fromarray(np.zeros((3, 3), np.uint8)).save(root / "DAVIS/Annotations/480p/bear/00001.png")
    (found,) = davis.read(str(root), "2017/val")
    assert "the mask is 3x3" in found.problems[0]
    (root / "DAVIS/davis_semantics.json").write_text("{}")
    (root / "DAVIS/ImageSets").rename(root / "DAVIS/other")
    assert len(list(davis.read(str(root)))) == 2
    with pytest.raises(InputError, match="has no splits"):
        davis.read(str(root), "val")


def test_folders_without_a_resolution(tmp_path, write_frames):
    write_frames(tmp_path / "JPEGImages/blackswan", ["00000"])
    with pytest.raises(InputError, match="JPEGImages/480p/VIDEO"):
        davis.read(str(tmp_path))
