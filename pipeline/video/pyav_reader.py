"""Decode video files sequentially with FFmpeg through PyAV."""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.error import FFmpegError
from av.stream import Disposition

from pipeline.io.stand_in import HEAD_BYTES, WANTED, in_place_of_video
from pipeline.video import file_end, file_parts, last_picture, mp4_index, orientation
from pipeline.video.colours import RgbConverter
from pipeline.video.lost_frames import LostFrames
from pipeline.video.memory import is_short_of_memory
from pipeline.video.select_frames import Damage, Picture
from pipeline.video.transport_stream import PacketCounter
from pipeline.video.types import MAX_PIXELS, LeftOut, check_size
from schemas.errors import MediaError

# The forms of files that may be opened (FFmpeg's names of its demuxers): those that people have videos in, and none
# that reads other files, devices or texts.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h263", "h264", "hevc",
    "vvc", "obu", "av1", "ivf", "flv", "asf", "asf_o", "gif", "apng", "ogg", "mxf", "yuv4mpegpipe", "nut", "dv", "rm",
    "wtv", "mjpeg",
)  # fmt: skip
DECODING_TIMES = ("avi", "asf", "asf_o", "mxf")  # they say when packets are decoded; pictures follow at their pace
OTHER_STREAMS = "video streams next to the best one of their file; to use one, extract it to a file of its own"
APPENDED = "videos appended to another one in its MP4 file; players show the first only; join them with a video program"


class PyavReader(contextlib.AbstractContextManager["PyavReader"]):
    """The best video stream (FFmpeg's choice: size, frame rate, disposition) of a local path or an open file.

    `uri` names the file in errors. `num_frames` is a hint of its header, `left_out` its other streams. Raises
    MediaError if it cannot be decoded.
    """

    def __init__(self, source: str | BinaryIO, uri: str):
        self._source, self._uri, self._colours = source, uri, RgbConverter()
        self._container = _open(source, uri)
        try:
            self._stream = _video_stream(self._container, source, uri)
            self.num_frames = _indexed_frames(self._stream)
            others = sum(not stream.disposition & Disposition.attached_pic for stream in self._container.streams.video)
            self.left_out = [LeftOut(OTHER_STREAMS, others - 1, uri)] if others > 1 else []
            movies = _count_movies(source) if self.format.startswith("mov,") else 1
            self.left_out += [LeftOut(APPENDED, movies - 1, uri)] if movies > 1 else []
        except BaseException:
            self._container.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def format(self) -> str:
        """FFmpeg's name of the format, as in FORMATS."""
        return self._container.format.name

    def __iter__(self) -> Iterator[Picture]:
        for frame in self.stored():
            yield Picture(lambda frame=frame: self.show(self._colours.convert(frame), frame), *self.times_of(frame))

    def times_of(self, frame: av.VideoFrame) -> tuple[Fraction | None, Fraction | None]:
        """Return when a picture is shown and for how long, in seconds; None if the file does not say it."""
        tick, rate = self._stream.time_base, self._stream.average_rate or self._stream.guessed_rate
        time = None if frame.pts is None or tick is None else frame.pts * tick
        return time, frame.duration * tick if frame.duration and tick else 1 / rate if rate else None

    def stored(self) -> Iterator[av.VideoFrame]:
        """Yield each picture as it is stored. Raises Damage where the file is damaged or cut off.

        Raises OSError and MemoryError if the disk or the machine, not the file, is at fault.
        """
        path = self._source if isinstance(self._source, str) and self.format == "mpegts" else None
        try:
            with PacketCounter(path, self._stream.id) if path else contextlib.nullcontext() as packets:
                yield from self._decoded(LostFrames(self._stream, packets), packets)
        except Damage:
            _require_readable(self._source)
            raise

    def _decoded(self, lost: LostFrames, packets: PacketCounter | None) -> Iterator[av.VideoFrame]:
        decoded, is_cut = 0, False
        is_reordered = self.format in DECODING_TIMES and self._stream.codec_context.has_b_frames
        times: deque[int | None] = deque()  # of the packets, if they are no times of pictures
        try:
            for packet in self._container.demux(self._stream):
                is_cut = packet.is_corrupt if packet.size else is_cut  # the empty packet at the end flushes the decoder
                lost.see_packet(packet)
                if is_reordered and packet.size:
                    times.append(packet.dts)
                for frame in packet.decode():
                    if frame.is_corrupt:
                        raise Damage(f"frame {decoded} is damaged")
                    if gap := lost.before_frame(frame.pts):
                        raise Damage(gap)
                    if times:
                        frame.pts = times.popleft()
                    yield frame
                    decoded += 1
        except FFmpegError as error:
            if is_short_of_memory(error):
                raise
            raise Damage(f"then: {error.strerror}") from error
        if is_cut:
            raise Damage("the last of them is cut off")
        if gap := lost.at_end():
            raise Damage(gap)
        if self._is_last_picture_cut(packets):
            raise Damage("the last of them is cut off")
        self._check_end(decoded)

    def _is_last_picture_cut(self, packets: PacketCounter | None) -> bool:
        """Return True if the last picture is cut off, in a form in which it is shown without an error all the same."""
        if self._stream.codec_context.name not in last_picture.CONCEALED or not isinstance(self._source, str):
            return False
        if not (self.format in last_picture.CONCEALED if packets is None else packets.ends_within_frame()):
            return False  # the file ends as if whole
        with _open(self._source, self._uri) as container:
            stream = container.streams[self._stream.index]
            return isinstance(stream, av.VideoStream) and last_picture.is_cut_off(container, stream)

    def show(self, image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
        """Turn a stored picture as players show it. Raises MediaError for another angle than a right one."""
        matrix = frame.side_data.get("DISPLAYMATRIX")
        if matrix is None:
            return image
        turned = orientation.of_matrix(bytes(matrix))
        if turned is None:
            reason = f"{self._uri}: its display matrix turns by no right angle; re-encode the video upright"
            raise MediaError("corrupt", reason)
        return turned.apply(image)

    def _check_end(self, decoded: int) -> None:
        """Raise Damage if the file is cut off between two frames. All frames of an index are enough, whatever follows.

        An index may count more than there is to show: empty frames of AVI, frames before the first key frame.
        """
        if self.num_frames is not None and decoded >= self.num_frames:
            return
        source = self._source
        with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
            if reason := file_end.cut_off(file):
                raise Damage(f"then the file is truncated, {reason}")
            if reason := file_parts.damage(file):
                raise Damage(reason)


def _open(source: str | BinaryIO, uri: str) -> av.container.InputContainer:
    size = os.path.getsize(source) if isinstance(source, str) else source.seek(0, os.SEEK_END)
    if size == 0:
        raise MediaError("corrupt", f"{uri} is an empty file; replace it")
    with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
        if fault := mp4_index.fault(file):
            raise MediaError("corrupt", f"{uri}: {fault}; replace it")
    if not isinstance(source, str):
        source.seek(0)
    # Tags that are not UTF-8 are common and do not matter. Only this file may be read: playlists must not open others.
    options = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
    try:
        return av.open(source, metadata_errors="ignore", options=options)
    except FFmpegError as error:
        if is_short_of_memory(error):
            raise
        _require_readable(source)
        found = in_place_of_video(_start(source))
        if found or error.errno == errno.EINVAL:  # the format is not on the list
            text = found or f"data of another kind; {WANTED}"
            raise MediaError("corrupt", f"{uri} is not a video file, but {text}") from error
        if reason := _cut_off(source):
            raise MediaError("corrupt", f"{uri} is cut off: {reason}; replace it with a complete video file") from error
        reason = f"cannot open {uri} as a video ({error.strerror}); replace it with a complete video file"
        raise MediaError("corrupt", reason) from error


def _start(source: str | BinaryIO) -> bytes:
    with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
        file.seek(0)
        return file.read(HEAD_BYTES)


def _cut_off(source: str | BinaryIO) -> str | None:
    with open(source, "rb") if isinstance(source, str) else contextlib.nullcontext(source) as file:
        return file_end.cut_off(file)


def _count_movies(source: str | BinaryIO) -> int:
    if isinstance(source, str):
        with open(source, "rb") as file:
            return mp4_index.count_movies(file)
    place = source.tell()
    try:
        return mp4_index.count_movies(source)
    finally:
        source.seek(place)


def _require_readable(source: str | BinaryIO) -> None:
    """Raise OSError if the file, not its content, is at fault: FFmpeg reports both alike, or takes both for the end."""
    if isinstance(source, str):
        with open(source, "rb") as file:
            while file.read(2**20):
                pass


def _video_stream(container: av.container.InputContainer, source: str | BinaryIO, uri: str) -> av.VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or stream.disposition & Disposition.attached_pic:
        if not container.streams:  # the index of an MP4 is at the end of the file
            reason = _cut_off(source) or "it has neither streams nor an index of them"
            raise MediaError("corrupt", f"{uri} is cut off: {reason}; replace it with a complete video file")
        raise MediaError("corrupt", f"{uri} has no video stream; use another file")
    codec = stream.codec_context
    if codec is None:
        reason = f"{uri}: FFmpeg has no decoder for its codec; re-encode the file, for example to H.264"
        raise MediaError("corrupt", reason)
    if not stream.width or not stream.height:
        reason = f"{uri}: the size of its frames is not known, as the start of its {codec.name} stream is missing"
        raise MediaError("corrupt", f"{reason}; replace it with a complete video file")
    check_size(stream.width, stream.height, uri)
    codec.options = {"max_pixels": str(MAX_PIXELS)}  # the size may change within the stream
    # With several threads, FFmpeg drops the error of a truncated end, and conceals damaged pictures differently for
    # each number of threads. Pictures and errors must be the same on every machine.
    codec.thread_type = "NONE"
    codec.thread_count = 1
    return stream


def _indexed_frames(stream: av.VideoStream) -> int | None:
    """Return the number of frames to show according to the index in the file, None if it has none.

    Samples that the edit list of MP4 and MOV discards, and the empty ones by which AVI repeats a frame, do not count.
    """
    entries = stream.index_entries
    if stream.frames <= 0 or len(entries) < stream.frames:
        return None
    return sum(not entry.is_discard and entry.size > 0 for entry in entries) or None
