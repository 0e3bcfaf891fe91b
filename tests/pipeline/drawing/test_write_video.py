"""Video files: playable, identical bytes, frames taken one by one."""

import mmap
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.drawing.write_video import write_gif, write_mp4

RAMP = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None], (48, 64, 3))


@pytest.mark.parametrize("write", [write_mp4, write_gif])
def test_frames_come_back_at_their_rate(tmp_path, write):
    for name in ("a", "b"):
        write(str(tmp_path / name), (RAMP + np.uint8(20 * number) for number in range(5)), 8)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with av.open(str(tmp_path / "a")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == pytest.approx(8, rel=0.05)
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 5
    assert [round(float(frame.mean() - frames[0].mean()), -1) for frame in frames] == [0, 20, 40, 60, 80]


@pytest.mark.parametrize("write", [write_mp4, write_gif])
@pytest.mark.parametrize("good", [0, 3])
def test_an_error_of_the_frames_leaves_no_file(tmp_path, write, good):
    def frames():
        yield from [RAMP] * good
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write(str(tmp_path / "folder/v"), frames(), 10)
    assert not (tmp_path / "folder/v").exists()


def test_frames_of_a_gif_are_not_held(tmp_path):
    ramp = np.broadcast_to(np.arange(640, dtype=np.uint16)[None, :, None], (360, 640, 3)).astype(np.uint8)
    pages = []

    def frames():
        for number in range(60):
            pages.append(int(Path("/proc/self/statm").read_text().split()[1]))
            yield ramp + np.uint8(number)

    write_gif(str(tmp_path / "v.gif"), frames(), 10)
    assert (pages[-1] - pages[20]) * mmap.PAGESIZE < 10 * 640 * 360  # of 40 frames, a byte for each pixel
