"""Decode video files with decord, to compare with work that used it.

Only `next()` is used: `get_batch` returns wrong frames for files with edit lists. PyAV decodes the file beside it and
tells what decord does not: damage, the end, the display matrix, and whether a repeated picture is one. decord decodes
ahead in its own threads, so the number of good frames before a broken one varies: such a file fails as a whole.
"""

import contextlib
from collections.abc import Iterator

import av
import decord
import numpy as np

from pipeline.video.colours import RgbConverter
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.select_frames import Picture
from schemas import advice
from schemas.errors import MediaError

decord.logging.set_level(decord.logging.QUIET)


class DecordReader(contextlib.AbstractContextManager["DecordReader"]):
    """Decode the stream that PyavReader would choose, with decord. Raises MediaError as PyavReader."""

    def __init__(self, path: str, uri: str):
        self._uri = uri
        self._video = PyavReader(path, uri)
        self.num_frames, self.left_out = self._video.num_frames, self._video.left_out
        try:
            self._reader = decord.VideoReader(path, num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            self._video.__exit__()
            raise MediaError("corrupt", f"decord cannot open {uri}; {advice.DECORD.run}") from error

    def __exit__(self, *_: object) -> None:
        del self._reader
        self._video.__exit__()

    def __iter__(self) -> Iterator[Picture]:
        turns, last = None, None
        for frame in self._video.stored():
            image = self._next()
            if turns is None:
                turns = _turns(image, frame)
            if last is not None and np.array_equal(image, last[0]):
                self._check_repeat(last[1], frame)
            yield Picture(
                lambda image=image, frame=frame, turns=turns: self._video.show(np.rot90(image, -turns), frame),
                *self._video.times_of(frame),
            )
            last = image, frame

    def _next(self) -> np.ndarray:
        try:
            image = self._reader.next().asnumpy()
        except (StopIteration, RuntimeError, decord.DECORDError) as error:
            reason = f"{self._uri}: decord failed to decode this file; {advice.DECORD_SHORT.run}"
            raise MediaError("short_read", reason) from error
        height, width, values = image.shape
        # Rows are padded to what the vectors of the CPU hold. Padding as wide as the row counts as values of a pixel.
        if values != 3:
            image = image.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)
        return np.ascontiguousarray(image)

    def _check_repeat(self, previous: av.VideoFrame, frame: av.VideoFrame) -> None:
        """Raise MediaError if decord repeated a picture that PyAV does not repeat, as it does for missing frames."""
        colours = RgbConverter()
        if not np.array_equal(colours.convert(previous), colours.convert(frame)):
            reason = f"{self._uri}: decord repeats a frame in place of another; {advice.DECORD.run}"
            raise MediaError("corrupt", reason)


def _turns(image: np.ndarray, frame: av.VideoFrame) -> int:
    """Return by how many quarters, counter-clockwise, decord has turned its first picture.

    It turns by the angle of the container's matrix, never mirrors, and ignores a matrix in the video stream itself.
    """
    turns, stored = round(frame.rotation / 90) % 4, RgbConverter().convert(frame)
    possible = [k for k in (turns, 0) if np.rot90(stored, k).shape == image.shape]
    return min(possible, key=lambda k: np.abs(np.rot90(stored, k).astype(np.int16) - image).mean(), default=turns)
