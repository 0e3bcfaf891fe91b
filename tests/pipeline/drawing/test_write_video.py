"""Video files: playable, identical bytes, frames taken one by one."""

import mmap
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.drawing.write_video import Shown, write_film, write_mp4
from pipeline.video import Selection, read_frames

RAMP = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (48, 64, 3))


def write_gif(uri, frames, fps):
    write_film(uri, (Shown(frame, Fraction(1, fps)) for frame in frames), "gif")


def write_film_mp4(uri, frames, fps):
    write_film(uri, (Shown(frame, Fraction(1, fps)) for frame in frames), "mp4")


WRITERS = [write_mp4, write_film_mp4, write_gif]


@pytest.mark.parametrize("write", WRITERS)
def test_frames_come_back_at_their_rate(tmp_path, write):
    for name in ("a", "b"):
        write(str(tmp_path / name), (RAMP + np.uint8(20 * number) for number in range(5)), 8)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with av.open(str(tmp_path / "a")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(8, rel=0.05)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    assert [round(float(frame.mean() - frames[0].mean()), -1) for frame in frames] == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("good", [0, 3])
def test_an_error_of_the_frames_leaves_no_file(tmp_path, write, good):
    def frames():
        yield from [RAMP] * good
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write(str(tmp_path / "folder/v"), frames(), 10)
    assert not (tmp_path / "folder/v").exists()


@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_each_frame_is_shown_for_its_time(tmp_path, form):
    path, seconds = str(tmp_path / "v"), [Fraction(number, 100) for number in (3, 50, 4, 300, 4, 2, 70)]
    write_film(path, [Shown(RAMP + np.uint8(9 * number), time) for number, time in enumerate(seconds)], form)
    with av.open(path) as container:
        times = [frame.time for frame in container.decode(video=0)]
        assert (container.duration or 0) / av.time_base == pytest.approx(float(sum(seconds)), abs=0.001)
    assert times == pytest.approx([float(sum(seconds[:number])) for number in range(7)], abs=0.001)


@pytest.mark.parametrize("fps", [60, 75, 100, 240])
def test_a_gif_of_a_fast_video_lasts_as_long(tmp_path, fps):
    """Browsers show frames of less than 2/100 s for 10/100 s."""
    write_gif(str(tmp_path / "v"), [RAMP] * fps, fps)
    with av.open(str(tmp_path / "v")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        assert (container.duration or 0) / av.time_base == pytest.approx(1, abs=0.03)
    assert min(packet.duration or 0 for packet in packets) >= 2
    assert len(packets) >= min(fps, 50) * 0.6


@pytest.mark.parametrize(("height", "width"), [(47, 63), (48, 63), (47, 64), (1, 1), (3, 500)])
@pytest.mark.parametrize("write", WRITERS)
def test_nothing_of_odd_sides_is_cut_off(tmp_path, write, height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[-1], image[:, -1] = 255, 255
    write(str(tmp_path / "v.mkv"), [image] * 3, 10)
    (shown, *_) = read_frames(str(tmp_path / "v.mkv"), Selection())
    padded = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge") if write != write_gif else image
    assert shown.image.shape == padded.shape
    assert np.abs(shown.image.astype(int) - padded).mean() < 12


def test_frames_of_a_gif_are_not_held(tmp_path):
    ramp = np.broadcast_to(np.arange(640, dtype=np.uint16)[None, :, None], (360, 640, 3)).astype(np.uint8)
    pages = []

    def frames():
        for number in range(60):
            pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
            yield ramp + np.uint8(number)

    write_gif(str(tmp_path / "v.gif"), frames(), 10)
    assert (pages[-1] - pages[20]) * mmap.PAGESIZE < 10 * 640 * 360  # of 40 frames, a byte for each pixel
