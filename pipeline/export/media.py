"""The files of a video for a copy: only those that can be decoded as a video or a picture, each fetched once.

A table may name any file that its reader has access to. Text, keys and answers of servers are no media, and stay.
"""

import contextlib
import io
import os
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.io import local, storage
from pipeline.io.local_copy import held_file
from pipeline.video import picture, picture_parts, select_frames
from pipeline.video.folder import list_frames
from pipeline.video.pyav_reader import PyavReader
from pipeline.video.types import Selection
from schemas.errors import MediaError

# Name of the format in Pillow or FFmpeg -> suffixes of such files. The first one replaces any other.
SUFFIXES = {
    "JPEG": ("jpg", "jpeg", "jpe", "jfif"), "PNG": ("png", "apng"), "TIFF": ("tif", "tiff"), "JPEG2000": ("jp2",),
    "PPM": ("ppm", "pgm", "pnm"), "BMP": ("bmp", "dib"), "DIB": ("dib", "bmp"),
    "mov,mp4,m4a,3gp,3g2,mj2": ("mp4", "mov", "m4v", "mp4v", "mpeg4", "qt", "3gp", "3g2", "f4v"),
    "matroska,webm": ("mkv", "webm"), "avi": ("avi", "divx"), "mpegts": ("ts", "mts", "m2ts", "m2t"),
    "mpeg": ("mpg", "mpeg", "mpe", "vob"), "mpegvideo": ("m2v", "m1v", "mpg"), "asf": ("wmv", "asf"),
    "ogg": ("ogv", "ogm"), "yuv4mpegpipe": ("y4m",), "h264": ("h264", "264"), "hevc": ("h265", "265", "hevc"),
    "rm": ("rm", "rmvb"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Medium:
    """A file to copy: its suffix, and its place in an open file."""

    suffix: str
    file: BinaryIO
    start: int
    size: int


@contextlib.contextmanager
def open_media(uri: str, frames: Collection[str]) -> Iterator[list[Medium]]:
    """Yield the video file or picture at `uri`, or the pictures of these frames of a folder.

    Raises OSError, or MediaError if one is missing or cannot be decoded. Of a video file, its first frame is decoded.
    """
    with contextlib.ExitStack() as stack:
        if picture.is_image(uri) or storage.is_folder(uri):
            with local.report_full_disk(uri, local.temp_folder()):
                file = stack.enter_context(tempfile.TemporaryFile(prefix="rvos-"))
            yield [_spool_picture(image, name, file) for name, image in _pictures(uri, frames)]
            return
        path = stack.enter_context(held_file(uri))
        with PyavReader(path, uri) as video:
            next(select_frames.read(video, uri, Selection(indices=(0,)), allow_short=False))
            suffix = _suffix(uri, video.format)
        file = stack.enter_context(open(path, "rb"))
        yield [Medium(suffix, file, 0, os.fstat(file.fileno()).st_size)]


def _pictures(uri: str, frames: Collection[str]) -> Iterator[tuple[str | None, str]]:
    if not storage.is_folder(uri):
        yield None, uri
        return
    files = list_frames(uri)
    for name in frames:
        if name not in files:
            raise MediaError("missing", f"{uri} lacks this frame", name)
        yield name, storage.join(uri, files[name])


def _spool_picture(uri: str, frame: str | None, file: BinaryIO) -> Medium:
    """Append a picture to `file`, if it can be decoded."""
    content = storage.read_bytes(uri, limit=picture_parts.MAX_BYTES)
    if picture.is_animation(uri):
        with picture.Animation(content, uri) as animation:
            next(select_frames.read(animation, uri, Selection(indices=(0,)), allow_short=False))
    else:
        picture.decode(content, uri, frame or storage.file_name(uri))
    found = picture.open_image(io.BytesIO(content)).format or ""
    start = file.seek(0, os.SEEK_END)
    with local.report_full_disk(uri, local.temp_folder()):
        file.write(content)
        file.flush()
    suffix = _suffix(uri, found)
    return Medium(suffix if frame is None else f"{frame}.{suffix}", file, start, len(content))


def _suffix(uri: str, found: str) -> str:
    """Return the suffix of a file in the format `found`: its own if such files have it."""
    usual = SUFFIXES.get(found, (found.lower().partition(",")[0],))
    own = storage.file_name(uri).rpartition(".")[2].lower()
    return own if own in usual else usual[0]
