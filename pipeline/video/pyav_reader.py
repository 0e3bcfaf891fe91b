"""Decode video files sequentially with FFmpeg through PyAV."""

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from pipeline.video.matroska import missing_bytes
from pipeline.video.select_frames import Damage, Picture
from pipeline.video.types import MAX_PIXELS, check_size
from schemas.errors import MediaError

_NOT_VIDEO = ("tty", "image2", "concat", "hls", "dash")  # demuxers of texts, single images or lists of other files


class PyavReader(contextlib.AbstractContextManager["PyavReader"]):
    """The best video stream (FFmpeg's choice: size, frame rate, disposition) of a local path or an open file.

    `uri` names the file in errors. Raises MediaError if it cannot be decoded.
    """

    def __init__(self, source: str | BinaryIO, uri: str):
        self._source = source
        self._container = _open(source, uri)
        try:
            self._stream = _video_stream(self._container, uri)
            self.num_frames = _promised_frames(self._stream)
        except BaseException:
            self._container.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Picture]:
        decoded = 0
        try:
            for frame in self._container.decode(self._stream):
                if frame.is_corrupt:
                    raise Damage(f"frame {decoded} is damaged")
                yield lambda frame=frame: _rgb(frame)
                decoded += 1
        except FFmpegError as error:
            raise Damage(f"then: {error.strerror}") from error
        check_complete(self._source, self.num_frames)


def check_complete(source: str | BinaryIO, num_frames: int | None) -> None:
    """Raise Damage if a file whose header has no frame count is shorter than that header states."""
    if num_frames is not None:
        return
    with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
        if missing := missing_bytes(file):
            raise Damage(f"then the file is truncated, {missing} bytes are missing")


def _open(source: str | BinaryIO, uri: str) -> av.container.InputContainer:
    size = os.path.getsize(source) if isinstance(source, str) else source.seek(0, os.SEEK_END)
    if size == 0:
        raise MediaError("corrupt", f"{uri} is an empty file; replace it")
    if not isinstance(source, str):
        source.seek(0)
    try:
        # Tags that are not UTF-8 are common and do not matter. Only this file may be read: playlists must not open
        # others.
        return av.open(source, metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        reason = f"cannot open {uri} as a video ({error.strerror}); replace it with a complete video file"
        raise MediaError("corrupt", reason) from error


def _video_stream(container: av.container.InputContainer, uri: str) -> av.VideoStream:
    name = container.format.name
    if name in _NOT_VIDEO or name.endswith("_pipe"):
        wanted = "use a video file, a JPEG or PNG, or a folder of images"
        reason = f"{uri} is not a video file (FFmpeg detects '{name}'); {wanted}"
        raise MediaError("corrupt", reason)
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or stream.disposition & Disposition.attached_pic:
        raise MediaError("corrupt", f"{uri} has no video stream; use another file")
    if stream.codec_context is None:
        raise MediaError(
            "corrupt", f"{uri}: FFmpeg has no decoder for its codec; re-encode the file, for example to H.264"
        )
    check_size(stream.width, stream.height, uri)
    codec = stream.codec_context
    codec.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change within the stream
    # With several threads, FFmpeg drops the error of a truncated end, and conceals damaged pictures differently for
    # each number of threads. Pictures and errors must be the same on every machine.
    codec.thread_type = "NONE"
    codec.thread_count = 1
    return stream


def _promised_frames(stream: av.VideoStream) -> int | None:
    """Return the number of frames to show according to the header, None if it has none.

    In MP4 and MOV the sample count includes samples that the edit list discards; the index marks them.
    """
    if stream.frames <= 0:
        return None
    entries = stream.index_entries
    if "mp4" in stream.container.format.name and len(entries) >= stream.frames:
        return sum(not entry.is_discard for entry in entries) or None
    return stream.frames


def _rgb(frame: av.VideoFrame) -> np.ndarray:
    image = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 counts
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image
