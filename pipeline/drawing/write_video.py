"""Write frames as a video file: H.264 in MP4, or GIF."""

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any, Literal, NamedTuple

import av
import numpy as np
from PIL import Image

from pipeline.io import storage

TICK = Fraction(1, 120_000)  # seconds; a whole number of them is a frame at all usual rates
GIF_TICK = Fraction(1, 100)
GIF_SHORTEST = 2  # ticks a frame; browsers show a shorter one for ten


class Shown(NamedTuple):
    """A frame of a film, uint8 [H, W, 3], and the seconds that it is shown."""

    image: np.ndarray
    seconds: Fraction


def write_mp4(uri: str, frames: Iterable[np.ndarray], fps: float | Fraction, *, crf: int = 18) -> None:
    """Write `frames`, at least one, uint8 [H, W, 3], as H.264 at a constant rate; the same bytes each time.

    H.264 has even sides only: an odd one gets a further row or column, a copy of the last. Frames are taken one by one,
    and an error that they raise leaves no file. `crf` is the quality of x264: less is better and larger.
    """
    rate = Fraction(fps).limit_denominator(1001)
    images = (_Timed(_h264_image(frame), number, 1) for number, frame in enumerate(frames))
    _write(uri, images, rate, 1 / rate, H264, {"crf": str(crf)})


def write_film(uri: str, film: Iterable[Shown], form: Literal["mp4", "gif"], *, crf: int = 18) -> None:
    """Write frames as `write_mp4` does, each shown for its time.

    Each frame of a GIF has its own 256 colours, since a mask may appear late. It has at most 50 frames a second: those
    that follow another one sooner are left out.
    """
    film = iter(film)
    first = next(film)
    film = itertools.chain([first], film)
    rate = min(max(1 / first.seconds, Fraction(1)), Fraction(240)).limit_denominator(1001)  # a hint for the encoder
    if form == "gif":
        _write(uri, _on_gif_ticks(film), rate, GIF_TICK, GIF, {})
        return
    # Of pictures in another order than they are decoded in, MP4 files of variable rate state a wrong length.
    _write(uri, _on_ticks(film), rate, TICK, H264, {"crf": str(crf), "bf": "0"})


class _Timed(NamedTuple):
    """A picture to encode, and its time and duration in ticks."""

    picture: av.VideoFrame
    time: int
    duration: int


class _Format(NamedTuple):
    name: str
    options: dict[str, str]
    codec: str
    pixels: str
    codec_options: dict[str, str]


H264 = _Format("mp4", {"fflags": "+bitexact"}, "libx264", "yuv420p", {"preset": "veryfast", "threads": "1"})
GIF = _Format("gif", {}, "gif", "pal8", {})


def _on_ticks(film: Iterable[Shown]) -> Iterator[_Timed]:
    start, time = Fraction(0), 0
    for image, seconds in film:
        start += seconds
        end = max(round(start / TICK), time + 1)
        yield _Timed(_h264_image(image), time, end - time)
        time = end


def _on_gif_ticks(film: Iterable[Shown]) -> Iterator[_Timed]:
    start, earliest = Fraction(0), 0
    for image, seconds in film:
        time = round(start / GIF_TICK)
        start += seconds
        if time >= earliest:
            yield _Timed(_with_256_colours(image), time, max(round(start / GIF_TICK) - time, GIF_SHORTEST))
            earliest = time + GIF_SHORTEST


def _h264_image(frame: np.ndarray) -> av.VideoFrame:
    height, width = frame.shape[:2]
    even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")


def _with_256_colours(frame: np.ndarray) -> av.VideoFrame:
    image = Image.fromarray(frame).quantize(256, Image.Quantize.FASTOCTREE)  # median cut takes 50 times as long
    palette = np.zeros((256, 4), np.uint8)
    colours = np.reshape(image.getpalette() or [], (-1, 3))
    palette[: len(colours)] = np.pad(colours, ((0, 0), (1, 0)), constant_values=255)  # opaque: ARGB
    indexed: Any = np.asarray(image), palette  # a form that PyAV accepts and does not declare
    return av.VideoFrame.from_ndarray(indexed, format="pal8")


def _write(
    uri: str, images: Iterator[_Timed], rate: Fraction, tick: Fraction, form: _Format, codec_options: dict[str, str]
) -> None:
    first = next(images)  # before anything is created: a video that cannot be read fails here
    with storage.spool(uri) as path:
        with av.open(path, "w", format=form.name, options=form.options) as container:
            options = form.codec_options | codec_options
            stream: Any = container.add_stream(form.codec, rate=rate, options=options)
            stream.height, stream.width = first.picture.height, first.picture.width
            stream.pix_fmt, stream.codec_context.time_base = form.pixels, tick
            durations: dict[int | None, int] = {}
            for image, time, duration in itertools.chain([first], images):
                image.pts, image.time_base = time, tick
                durations[time] = duration
                _mux(container, stream.encode(image), durations)
            _mux(container, stream.encode(), durations)
        storage.commit(path, uri, replace=True)


def _mux(container: av.container.OutputContainer, packets: list[av.Packet], durations: dict[int | None, int]) -> None:
    for packet in packets:  # encoders do not say how long the last one is shown
        packet.duration = durations.pop(packet.pts)
        container.mux(packet)
