import numpy as np
import pytest

from pipeline.video import Selection, read_frames
from schemas.errors import MediaError


def images(path, decoder):
    return [frame.image for frame in read_frames(str(path), Selection(), decoder=decoder)]


@pytest.mark.parametrize(
    "name", ["blackswan.mp4", "h265_video.mp4", "video_90.mov", "test-sample2.mp4", "av1_video.mkv"]
)
def test_both_decoders_give_the_same_pixels_on_real_files(shared, name):
    path = shared / "data/real/videos" / name
    for by_pyav, by_decord in zip(images(path, "pyav"), images(path, "decord"), strict=True):
        np.testing.assert_array_equal(by_pyav, by_decord)


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
    with pytest.raises(MediaError, match="use --decoder pyav"):
        images(make_video("narrow.mp4", 3, width=48), "decord")
