"""Decode video files with decord, to compare with work that used it.

Only `next()` is used: `get_batch` returns wrong frames for files with edit lists. decord has no AV1, does not report
damaged pictures, and repeats the last picture if frames are missing at the end. The frame count of the header and, in
doubt, a count by PyAV detect such repeats. decord decodes ahead in its own threads, so the number of good frames before
a broken one varies: such a file fails as a whole.
"""

import contextlib
from collections.abc import Iterator

import decord
import numpy as np

from pipeline.video.pyav_reader import PyavReader, check_complete
from pipeline.video.select_frames import Damage, Picture
from schemas.errors import MediaError

decord.logging.set_level(decord.logging.QUIET)


class DecordReader(contextlib.AbstractContextManager["DecordReader"]):
    """Decode the stream that PyavReader would choose, with decord. Raises MediaError as PyavReader."""

    def __init__(self, path: str, uri: str):
        self._path, self._uri = path, uri
        with PyavReader(path, uri) as video:  # the same errors and frame count as with PyAV
            self.num_frames = video.num_frames
        try:
            self._reader = decord.VideoReader(path, num_threads=1)
        except (RuntimeError, decord.DECORDError) as error:
            reason = f"decord cannot open {uri}; it lacks newer codecs (AV1): use --decoder pyav"
            raise MediaError("corrupt", reason) from error

    def __exit__(self, *_: object) -> None:
        del self._reader

    def __iter__(self) -> Iterator[Picture]:
        count = self.num_frames or len(self._reader)
        index, previous, counted = 0, None, False
        while index < count:
            image = self._next()
            if not counted and previous is not None and np.array_equal(image, previous):
                count, counted = min(count, self._count_by_pyav()), True
                if index >= count:
                    break
            yield lambda image=image: image
            previous = image
            index += 1
        check_complete(self._path, self.num_frames)

    def _next(self) -> np.ndarray:
        try:
            image = self._reader.next().asnumpy()
        except (StopIteration, RuntimeError, decord.DECORDError) as error:
            count = f"PyAV decoded {self._count_by_pyav()} of {self.num_frames or len(self._reader)} frames"
            way_out = "replace the file, or use the decoded frames with --decoder pyav --allow-short"
            raise MediaError(
                "short_read", f"{self._uri}: decord failed to decode this file ({count}); {way_out}"
            ) from error
        if image.shape[2] != 3:  # rows of less than some 80 pixels are padded
            reason = f"{self._uri}: decord misreads frames only {image.shape[1]} wide; use --decoder pyav"
            raise MediaError("corrupt", reason)
        return image

    def _count_by_pyav(self) -> int:
        count = 0
        with PyavReader(self._path, self._uri) as video, contextlib.suppress(Damage):
            for _ in video:
                count += 1
        return count
