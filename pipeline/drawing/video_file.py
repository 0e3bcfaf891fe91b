"""Write frames as a video file: H.264 in MP4, or GIF."""

import itertools
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from pipeline.io import storage


def write_mp4(uri: str, frames: Iterable[np.ndarray], fps: int, *, crf: int = 18) -> None:
    """Write `frames`, at least one, uint8 [H, W, 3] with even sides, as H.264; the same bytes each time.

    Frames are taken one by one, and an error that they raise leaves no file. `crf` is the quality of x264: less is
    better and larger.
    """

    def to_frame(image: np.ndarray) -> av.VideoFrame:
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")

    options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
    _write(uri, frames, fps, to_frame, "mp4", {"fflags": "+bitexact"}, "libx264", "yuv420p", options)


def write_gif(uri: str, frames: Iterable[np.ndarray], fps: int) -> None:
    """Write `frames` as `write_mp4` does, each with its own 256 colours, since a mask may appear late."""

    def to_frame(image: np.ndarray) -> av.VideoFrame:
        reduced = Image.fromarray(image).quantize(256, Image.Quantize.FASTOCTREE)  # median cut takes 50 times as long
        palette = np.zeros((256, 4), np.uint8)
        colours = np.reshape(reduced.getpalette() or [], (-1, 3))
        palette[: len(colours)] = np.pad(colours, ((0, 0), (1, 0)), constant_values=255)  # opaque: ARGB
        indexed: Any = np.asarray(reduced), palette  # a form that PyAV accepts and does not declare
        return av.VideoFrame.from_ndarray(indexed, format="pal8")

    _write(uri, frames, fps, to_frame, "gif", {}, "gif", "pal8", {})


def _write(
    uri: str,
    frames: Iterable[np.ndarray],
    fps: int,
    to_frame: Callable[[np.ndarray], av.VideoFrame],
    container_format: str,
    container_options: dict[str, str],
    codec: str,
    pixel_format: str,
    codec_options: dict[str, str],
) -> None:
    rest = iter(frames)
    first = next(rest)  # before anything is created: a video that cannot be read fails here
    with storage.spool(uri) as path:
        with av.open(path, "w", format=container_format, options=container_options) as container:
            stream: Any = container.add_stream(codec, rate=Fraction(fps), options=codec_options)
            stream.height, stream.width, stream.pix_fmt = *first.shape[:2], pixel_format
            for image in itertools.chain([first], rest):
                container.mux(stream.encode(to_frame(image)))
            container.mux(stream.encode())
        storage.commit(path, uri, replace=True)
