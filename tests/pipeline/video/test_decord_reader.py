"""decord's frames are those of PyAV: on every real file, in all eight orientations."""

import subprocess
import sys

import numpy as np
import pytest

from pipeline.video import Selection, read_frames
from schemas.errors import MediaError
from tests.pipeline.video.test_orientation import MATRICES, set_matrix

SAME = ["blackswan.mp4", "h265_video.mp4", "nasa_13013.mp4", "video_90.mov", "test-sample2.mp4", "av1_video.mkv"]


def images(path, decoder):
    return [frame.image for frame in read_frames(str(path), Selection(), decoder=decoder)]


@pytest.mark.parametrize("name", SAME)
def test_both_decoders_give_the_same_pixels_on_real_files(shared, name):
    path = shared / "data/real/videos" / name
    for by_pyav, by_decord in zip(images(path, "pyav"), images(path, "decord"), strict=True):
        np.testing.assert_array_equal(by_pyav, by_decord)


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
@pytest.mark.parametrize("name", [name for name in SAME if not name.endswith("mkv")])
def test_both_decoders_show_real_files_in_every_orientation(shared, tmp_path, name, matrix):
    path = tmp_path / name
    path.write_bytes((shared / "data/real/videos" / name).read_bytes())
    set_matrix(path, *matrix)
    some = Selection(indices=(0, 2))
    by_pyav, by_decord = (list(read_frames(str(path), some, decoder=decoder)) for decoder in ("pyav", "decord"))
    assert [frame.index for frame in by_pyav] == [frame.index for frame in by_decord] == [0, 2]
    for one, other in zip(by_pyav, by_decord, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_every_real_file_is_compared(shared):
    """A file that comes along is named here, so that both decoders are held against each other on it."""
    names = {path.name for path in (shared / "data/real/videos").iterdir()}
    assert names == {*SAME, "bear-vp9-odd-dimensions.webm", "corrupted.mp4"}


def test_decord_is_loaded_only_when_chosen(make_video):
    code = """
import sys
import cli, jobs.check
from pipeline.video import Selection, probe, read_frames
probe(sys.argv[1])
list(read_frames(sys.argv[1], Selection()))
assert "decord" not in sys.modules
list(read_frames(sys.argv[1], Selection(), decoder="decord"))
assert "decord" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, str(make_video("clip.mp4", 3))], check=True)


def test_odd_sizes_differ_by_rounding_only(shared):
    path = shared / "data/real/videos/bear-vp9-odd-dimensions.webm"
    for by_pyav, by_decord in zip(images(path, "pyav"), images(path, "decord"), strict=True):
        assert np.abs(by_pyav.astype(int) - by_decord).max() <= 7


def test_real_corrupted_file_is_a_short_read(shared):
    with pytest.raises(MediaError) as caught:
        images(shared / "data/real/videos/corrupted.mp4", "decord")
    assert caught.value.status == "short_read"


def test_real_corrupted_file_gives_no_chance_number_of_frames(shared):
    path = shared / "data/real/videos/corrupted.mp4"
    with pytest.raises(MediaError, match="--decoder pyav --allow-short"):
        list(read_frames(str(path), Selection(), decoder="decord", allow_short=True))


def test_still_endings_are_no_repeats(make_video, remux):
    """Equal neighbours make the reader compare with PyAV; true frames are all kept, repeats are not."""
    path = make_video("still.mp4", 12, still=True)
    assert len(images(path, "decord")) == 12
    cut = remux(path, "cut.mp4", 5)
    assert len(images(cut, "decord")) == len(images(cut, "pyav")) == 7


def test_narrow_frames_are_refused(make_video):
    with pytest.raises(MediaError, match="use --retry-errors --decoder pyav"):
        images(make_video("narrow.mp4", 3, width=48), "decord")
