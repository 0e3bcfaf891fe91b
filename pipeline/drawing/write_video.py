"""Write frames as a video file: H.264 in MP4, or GIF."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from pipeline.io import storage
from pipeline.video import probe

DEFAULT_RATE = Fraction(10)  # frames per second of a folder of images
SLOWEST, FASTEST = Fraction(1, 60), Fraction(1000)  # what containers say beyond these is damage
FASTEST_GIF = 100  # a GIF counts hundredths of a second


def source_rate(uri: str, indices: Sequence[int]) -> Fraction:
    """Return the frames per second at which the frames `indices` of a video are as fast as in the video.

    Raises MediaError as `probe`.
    """
    rate = probe(uri).rate or DEFAULT_RATE
    step = Fraction(float(np.median(np.diff(indices)))) if len(indices) > 1 else Fraction(1)
    return min(max(rate / step, SLOWEST), FASTEST)


def write_mp4(uri: str, frames: Iterable[np.ndarray], fps: float | Fraction, *, crf: int = 18) -> None:
    """Write `frames`, at least one, uint8 [H, W, 3] with even sides, as H.264; the same bytes each time.

    Frames are taken one by one, and an error that they raise leaves no file. `crf` is the quality of x264: less is
    better and larger.
    """
    images = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    codec_options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    _write(uri, images, fps, "mp4", {"fflags": "+bitexact"}, "libx264", "yuv420p", codec_options)


def write_gif(uri: str, frames: Iterable[np.ndarray], fps: float | Fraction) -> None:
    """Write `frames` as `write_mp4` does, each with its own 256 colours, since a mask may appear late."""
    _write(uri, map(_with_256_colours, frames), min(fps, FASTEST_GIF), "gif", {}, "gif", "pal8", {})


def _with_256_colours(frame: np.ndarray) -> av.VideoFrame:
    image = Image.fromarray(frame).quantize(256, Image.Quantize.FASTOCTREE)  # median cut takes 50 times as long
    palette = np.zeros((256, 4), np.uint8)
    colours = np.reshape(image.getpalette() or [], (-1, 3))
    palette[: len(colours)] = np.pad(colours, ((0, 0), (1, 0)), constant_values=255)  # opaque: ARGB
    indexed: Any = np.asarray(image), palette  # a form that PyAV accepts and does not declare
    return av.VideoFrame.from_ndarray(indexed, format="pal8")


def _write(
    uri: str,
    images: Iterator[av.VideoFrame],
    fps: float | Fraction,
    container_format: str,
    container_options: dict[str, str],
    codec: str,
    pixel_format: str,
    codec_options: dict[str, str],
) -> None:
    first = next(images)  # before anything is created: a video that cannot be read fails here
    with storage.spool(uri) as path:
        with av.open(path, "w", format=container_format, options=container_options) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=codec_options)
            stream.height, stream.width, stream.pix_fmt = first.height, first.width, pixel_format
            for image in itertools.chain([first], images):
                container.mux(stream.encode(image))
            container.mux(stream.encode())
        storage.commit(path, uri, replace=True)
