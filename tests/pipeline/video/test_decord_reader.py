"""decord's frames are those of PyAV: on every real file, in all eight orientations."""

import subprocess
import sys

import av
import numpy as np
import pytest

from pipeline.video import Selection, read_frames
from schemas.errors import MediaError
from tests.pipeline.video.conftest import picture
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


@pytest.mark.parametrize("width", [16, 24, 32, 48, 64, 80, 96, 98, 112, 130, 144])
def test_rows_that_are_padded(make_video, width):
    """Which are, depends on the vectors of the CPU."""
    path = make_video("narrow.mp4", 3, width=width)
    for by_pyav, by_decord in zip(images(path, "pyav"), images(path, "decord"), strict=True):
        np.testing.assert_array_equal(by_pyav, by_decord)


MADE = [("mov", "libx264", 112), ("mp4", "libx265", 96), ("mkv", "libsvtav1", 128), ("webm", "libvpx-vp9", 144)]


@pytest.fixture(params=MADE, ids=lambda made: made[1])
def made_file(request, tmp_path):
    """A stand-in for the real files, in their codecs and containers."""
    suffix, codec, width = request.param
    path = tmp_path / f"v.{suffix}"
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, 80, "yuv420p"
        for index in range(12):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index, 80, width), format="rgb24")))
        output.mux(stream.encode())
    return path


def test_both_decoders_give_the_same_pixels(made_file):
    pairs = list(zip(images(made_file, "pyav"), images(made_file, "decord"), strict=True))
    assert len(pairs) == 12
    for by_pyav, by_decord in pairs:
        np.testing.assert_array_equal(by_pyav, by_decord)


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_both_decoders_show_every_orientation(make_video, matrix):
    path = make_video("v.mp4", 3, rotation=90)
    set_matrix(path, *matrix)
    for by_pyav, by_decord in zip(images(path, "pyav"), images(path, "decord"), strict=True):
        np.testing.assert_array_equal(by_pyav, by_decord)


def test_a_file_that_is_cut_off_is_a_short_read(make_video):
    path = make_video("v.mp4", 40, options={"bf": "0", "g": "5"}, container_options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])
    for decoder in ("pyav", "decord"):
        with pytest.raises(MediaError) as told:
            images(path, decoder)
        assert told.value.status == "short_read"
