"""Films last as long as their videos, whatever the rate in the header."""

import itertools
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from pipeline.drawing.film_times import DEFAULT, timed
from pipeline.drawing.write_video import Shown, write_film
from pipeline.video import Frame, Selection, read_frames

IMAGE = np.zeros((2, 2, 3), np.uint8)
UNEVEN = (0, 33, 66, 500, 533, 1000, 2000, 2900)  # ms


def frame(index: int, milliseconds: float | None, duration: float | None = None) -> Frame:
    time, own = (None if each is None else Fraction(each) / 1000 for each in (milliseconds, duration))
    return Frame(index, f"{index:05d}", IMAGE, time, own)


def seconds_of(*frames: Frame) -> list[float]:
    assert [one.index for one, _ in timed(frames)] == [one.index for one in frames]
    return [float(seconds) for _, seconds in timed(frames)]


def test_frames_are_shown_until_the_next_one():
    assert seconds_of(frame(0, 1400, 33), frame(1, 1500, 33), frame(2, 4500, 33)) == [0.1, 3, 0.033]
    assert seconds_of(frame(0, 0), frame(1, 100), frame(2, 300)) == [0.1, 0.2, 0.2]
    assert seconds_of(frame(7, 700, 40)) == [0.04]
    assert seconds_of() == []


def test_sampled_frames_are_shown_until_the_next_one_of_them():
    assert seconds_of(*(frame(index, 40 * index, 40) for index in (0, 5, 15, 20))) == [0.2, 0.4, 0.2, 0.2]
    assert seconds_of(frame(0, None), frame(5, None), frame(10, None)) == [0.5, 0.5, 0.5]


def test_a_folder_has_ten_frames_a_second():
    assert seconds_of(*(frame(index, None) for index in range(3))) == [float(DEFAULT)] * 3


def test_without_times_the_duration_counts():
    assert seconds_of(*(frame(index, None, 40) for index in range(3))) == [0.04] * 3


@pytest.mark.parametrize("jump", [-5_000, 3_600_000, -41])
def test_times_that_jump_are_replaced_by_the_usual_distance(jump):
    times = [0, 40, 80, 120 + jump, 160 + jump]
    assert seconds_of(*(frame(index, time) for index, time in enumerate(times))) == [0.04] * 5


@pytest.mark.parametrize("tick", [0, 1000 / 90_000])
@pytest.mark.parametrize("duration", [None, 0, 1000 / 90_000, 10**9])
def test_an_impossible_rate_is_that_of_a_folder(tick, duration):
    assert seconds_of(*(frame(index, tick * index, duration) for index in range(4))) == [0.1] * 4
    assert seconds_of(*(frame(index, tick * index, 40) for index in range(4))) == [0.04] * 4


def test_frames_at_the_same_time_do_not_make_a_film_longer():
    times = [0, 40, 80, 80, 120, 160, 160, 160, 200]
    seconds = seconds_of(*(frame(index, time) for index, time in enumerate(times)))
    assert min(seconds) >= 0.001
    assert sum(seconds[:-1]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("v.mkv", "libx264"), ("v.webm", "libvpx"), ("v.webm", "libvpx-vp9"), ("v.mp4", "libx264"), ("v.mov", "mpeg4"),
     ("v.ts", "libx264"), ("v.ts", "mpeg2video"), ("v.flv", "libx264"), ("v.gif", "gif"), ("v.nut", "libx264")],
)  # fmt: skip
@pytest.mark.parametrize("form", ["mp4", "gif"])
def test_a_film_of_a_video_of_variable_rate_lasts_as_long(tmp_path, name, codec, form):
    """Also in MP4 with frames that are decoded in another order, whose index states a wrong length."""
    source = str(tmp_path / name)
    make_video(source, codec, UNEVEN)
    shown, length = times_of_film(source, str(tmp_path / "film"), form)
    assert shown == pytest.approx([time / 1000 for time in UNEVEN], abs=0.011)
    assert length == pytest.approx(2.933, abs=0.08)


@pytest.mark.parametrize("codec", ["mjpeg", "mpeg4", "libx264"])
def test_a_film_of_an_avi_lasts_as_long(tmp_path, codec):
    """AVI says when packets are decoded, not when pictures are shown; and it repeats frames by empty packets."""
    source = str(tmp_path / "v.avi")
    make_video(source, codec, [40 * number for number in range(24)], rate=25)
    shown, length = times_of_film(source, str(tmp_path / "film"), "mp4")
    assert np.diff(shown) == pytest.approx([0.04] * 23, abs=0.001)
    assert length == pytest.approx(0.96, abs=0.001)


def test_a_film_of_an_avi_that_repeats_frames(tmp_path):
    source = str(tmp_path / "v.avi")
    make_video(source, "mjpeg", [0, 40, 400, 440], rate=25)
    shown, _ = times_of_film(source, str(tmp_path / "film"), "mp4")
    assert shown == pytest.approx([0, 0.04, 0.4, 0.44], abs=0.001)


def test_a_film_of_a_part_of_a_video_is_as_fast(tmp_path, make_cut):
    shown, length = times_of_film(make_cut, str(tmp_path / "film"), "mp4")
    assert shown == pytest.approx([number / 10 for number in range(7)], abs=0.001)
    assert length == pytest.approx(0.7, abs=0.001)


@pytest.fixture
def make_cut(tmp_path) -> str:
    """An MP4 of ten frames whose edit list leaves the first three out."""
    source, cut = str(tmp_path / "whole.mp4"), str(tmp_path / "cut.mp4")
    make_video(source, "libx264", [100 * number for number in range(10)], rate=10)
    with av.open(source) as reader, av.open(cut, "w") as writer:
        stream = reader.streams.video[0]
        twin = writer.add_stream_from_template(stream)
        for packet in reader.demux(stream):
            if packet.pts is not None and packet.dts is not None:
                ticks = round(Fraction(3, 10) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - ticks, packet.dts - ticks, twin
                writer.mux(packet)
    return cut


def make_video(target: str, codec: str, milliseconds, rate: int = 30) -> None:
    tick = Fraction(1, 100) if codec == "gif" else Fraction(1, rate) if rate != 30 else Fraction(1, 1000)
    with av.open(target, "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = 48, 64
        stream.pix_fmt = {"gif": "rgb8", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        if codec not in ("mpeg2video", "mpeg4"):  # which have times of a constant rate, of which some are left out
            stream.codec_context.time_base = tick
        else:
            tick = Fraction(1, rate)
        for number, time in enumerate(milliseconds):
            shade = np.full((48, 64, 3), 30 * number % 256, np.uint8)
            image = av.VideoFrame.from_ndarray(shade, format="rgb24")
            image.pts, image.time_base = round(Fraction(time, 1000) / tick), tick
            container.mux(stream.encode(image))
        container.mux(stream.encode())


def times_of_film(source: str, film: str, form) -> tuple[list[float], float]:
    frames = timed(read_frames(source, Selection()))
    write_film(film, itertools.starmap(lambda one, seconds: Shown(one.image, seconds), frames), form)
    with av.open(film) as container:
        times = [one.time for one in container.decode(video=0)]
        return times, (container.duration or 0) / av.time_base
