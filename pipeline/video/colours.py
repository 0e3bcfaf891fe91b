"""Convert stored pictures to RGB as the program `ffmpeg` does, to the last bit."""

from fractions import Fraction

import av
import numpy as np

DIRECT = ("yuv420p", "yuvj420p")  # of even height and progressive: each chroma sample is repeated, by any method
TIME_BASE = Fraction(1, 1000)  # says nothing about colours


class RgbConverter:
    """Converts the pictures of one video. Used by one thread.

    PyAV's own conversion ignores where chroma samples lie and that fields are interlaced, and interpolates them
    linearly. FFmpeg's scale filter takes both from each frame. Common video needs none of this, and is converted by
    PyAV, which is faster.
    """

    def __init__(self) -> None:
        self._graph, self._made_for = av.filter.Graph(), ("", 0, 0)

    def convert(self, frame: av.VideoFrame) -> np.ndarray:
        """Return a picture as it is stored, uint8 [H, W, 3] RGB."""
        if frame.format.name in DIRECT and frame.height % 2 == 0 and not frame.interlaced_frame:
            return frame.to_ndarray(format="rgb24")
        about = frame.format.name, frame.width, frame.height
        if about != self._made_for:  # both may change within a stream
            self._graph, self._made_for = _graph(frame), about
        self._graph.vpush(frame)
        return self._graph.vpull().to_ndarray()


def _graph(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    size = {"width": frame.width, "height": frame.height}
    graph.link_nodes(
        graph.add_buffer(format=frame.format, time_base=TIME_BASE, **size),
        graph.add("scale", flags="bicubic"),
        graph.add("format", pix_fmts="rgb24"),
        graph.add("buffersink"),
    ).configure()
    return graph
