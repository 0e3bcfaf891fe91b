"""Label maps whose few values look like ids and are not: rings of interpolation, objects saved as void."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image

from pipeline.masks.png_trees import DEFAULT_READING, PngTree
from pipeline.masks.tree_masks import TreeMasks
from schemas.errors import ImplausibleError, InputError

HEIGHT, WIDTH = 120, 180
Y, X = np.mgrid[:HEIGHT, :WIDTH]
DISC, FAR = (Y - 40) ** 2 + (X - 50) ** 2 < 25**2, (Y - 80) ** 2 + (X - 120) ** 2
CRISP = np.where(FAR < 30**2, 2, DISC * 1).astype(np.uint8)


def read(tmp_path, *maps) -> TreeMasks:
    folder = tmp_path / "v"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for index, values in enumerate(maps):
        Image.fromarray(np.asarray(values, np.uint8)).save(folder / f"{index:05d}.png")
    tree = PngTree.find(str(tmp_path))
    assert tree is not None
    return TreeMasks.read(tree, DEFAULT_READING)


@pytest.mark.parametrize("scale", [0.5, 1.5, 2, 3, 4])
def test_rings_of_interpolation_are_found_with_two_labels(tmp_path, scale):
    small = Image.fromarray(CRISP).resize((int(WIDTH * scale), int(HEIGHT * scale)), Image.Resampling.BILINEAR)
    assert set(np.unique(np.asarray(small)).tolist()) == {0, 1, 2}
    with pytest.raises(InputError, match="in v, label 2 has a thin ring of lower labels .* nearest neighbour only"):
        read(tmp_path, small, small)


FRAME = (Y > 30) & (Y < 90) & (X > 40) & (X < 120)
REAL = {
    "apart": CRISP,
    "void around both": np.where((CRISP == 0) & ((FAR < 33**2) | ((Y - 40) ** 2 + (X - 50) ** 2 < 28**2)), 255, CRISP),
    "one in the other": np.where(FAR < 20**2, 2, (FAR < 39**2) * 1),
    "a ring": np.where(FAR < 30**2, 2, (FAR < 34**2) * 1),
    "a frame of two pixels": np.where((Y > 32) & (Y < 88) & (X > 42) & (X < 118), 2, FRAME * 1),
    "side by side": np.where(X > 80, 2, 1) * FRAME,
    "at the border": np.where(X > 90, 2, (Y > 60) * 1),
}


@pytest.mark.parametrize("name", REAL)
def test_objects_that_surround_others_stay_objects(tmp_path, name):
    found = read(tmp_path, REAL[name])
    assert found.keys_by_video()["v"] == {"1", "2"}


def test_objects_saved_as_void_in_some_frames_are_refused(tmp_path):
    """Two programs wrote the masks of a video, with 0 and 1, and with 0 and 255: the object was void in half of it."""
    reason = "in v, frame 00001 has only 0 and 255, frame 00000 only 0 and 1: 255 is hardly void there"
    with pytest.raises(InputError, match=reason):
        read(tmp_path, DISC * 1, DISC * 255, DISC * 0, DISC * 255)
    with pytest.raises(InputError, match="only 0 and 1, 2: 255 is hardly void"):
        read(tmp_path, CRISP, (CRISP > 0) * 255)


def test_void_next_to_objects_stays_void(tmp_path):
    edge = np.where((CRISP == 0) & (FAR < 33**2), 255, CRISP)
    speck = np.zeros_like(CRISP)
    speck[:3, :3] = 255
    for maps in ((edge, CRISP), (edge, CRISP, (CRISP > 0) * 255), (CRISP, speck)):
        found = read(tmp_path, *maps)
        assert found.meaning.void
        assert found.keys_by_video()["v"] == {"1", "2"}


def as_jpeg(values, quality=75) -> Image.Image:
    """The map after a JPEG file, in the quality that Pillow has by default."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(values, np.uint8)).save(file, "JPEG", quality=quality)
    return Image.open(file)


ELLIPSES = np.where(((X - 60) / 36) ** 2 + ((Y - 50) / 28) ** 2 < 1, 2, ((abs(X - 140) < 18) & (abs(Y - 80) < 30)) * 1)


@pytest.mark.parametrize("quality", [95, 90, 75])
def test_label_maps_that_went_through_jpeg_are_refused(tmp_path, quality):
    with pytest.raises(InputError, match="save the masks as PNG from the beginning"):
        read(tmp_path, as_jpeg(ELLIPSES, quality), as_jpeg(np.roll(ELLIPSES, 3, 1), quality)).with_objects(TWO)


TWO = {"v": frozenset({"1", "2"})}
NOISE = (X % 9 == 4) & (Y % 5 < 2) & (abs(X - 60) < 45) & (Y < 90)  # specks of two pixels


def test_unknown_labels_that_are_specks_only_are_refused(tmp_path):
    noisy = np.where(NOISE & (CRISP == 0), 3, CRISP)
    with pytest.raises(ImplausibleError, match="label 3 of v, which is no object, is only specks .*1 of 1 videos"):
        read(tmp_path, noisy, noisy).with_objects(TWO)


@pytest.mark.parametrize("extra", [(Y > 100) & (X < 40), (Y == 3) & (X < 4)], ids=["an object", "a slip"])
def test_unknown_labels_of_other_objects_are_left_out(tmp_path, extra):
    found = read(tmp_path, np.where(extra, 3, CRISP), CRISP).with_objects(TWO)
    assert found.keys_by_video()["v"] == {"1", "2", "3"}


def test_labels_that_begin_with_the_background_are_refused(tmp_path):
    """All labels are one too high: the background is 1, the second object 3."""
    with pytest.raises(ImplausibleError, match="no pixel of the masks is 0, the background .in v: 1, 2, 3; .* 1, 2"):
        read(tmp_path, CRISP + 1, CRISP + 1).with_objects(TWO)
    full = np.where(X > 60, 2, 1)
    edge = np.where(abs(X - 60) < 3, 255, full)
    for values in (full, edge):  # objects may fill the picture
        assert read(tmp_path, values, values).with_objects(TWO).keys_by_video()["v"] == {"1", "2"}
