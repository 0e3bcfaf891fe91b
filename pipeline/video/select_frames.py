"""Select frames from a sequential decode of a video file, and detect files that end too early."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import NamedTuple, Protocol

import numpy as np

from pipeline.video.types import Frame, LeftOut, Selection, check_same_size
from schemas import advice
from schemas.errors import MediaError
from schemas.printable import counted

CUT_OFF = "ends of damaged or cut-off videos, as --allow-short asks"


class Picture(NamedTuple):
    """A decoded picture: `convert` makes it uint8 [H, W, 3] RGB, rotated for display; see Frame for the times."""

    convert: Callable[[], np.ndarray]
    time: Fraction | None = None
    duration: Fraction | None = None


class Damage(Exception):  # noqa: N818 - not an error if all wanted frames come before it
    """Decoding cannot continue; the text gives the reason."""


class VideoReader(Iterable[Picture], AbstractContextManager, Protocol):
    """An open video file, which yields all pictures in presentation order.

    Iteration raises Damage where the file is broken or truncated. `num_frames` is the frame count of its index, None
    if it has none; fewer may be shown, never more. `left_out` is what the file has besides.
    """

    num_frames: int | None
    left_out: list[LeftOut]


def read(
    video: VideoReader, uri: str, selection: Selection, allow_short: bool, left_out: list[LeftOut] | None = None
) -> Iterator[Frame]:
    """Yield the selected frames of an open file; see `pipeline.video.read_frames`."""
    if left_out is not None:
        left_out += video.left_out
    indices = selection.resolve(uri, video.num_frames, None)
    chosen = None if indices is None else frozenset(indices)
    last = None if indices is None else indices[-1]
    decoded, size, damage = 0, None, None
    try:
        for picture in video:
            if decoded in chosen if chosen is not None else decoded % selection.step == 0:
                image = picture.convert()
                size = size or image.shape[:2]
                check_same_size(image, size, uri, decoded)
                yield Frame(decoded, f"{decoded:05d}", image, picture.time, picture.duration)
            decoded += 1
            if decoded - 1 == last:
                return
    except Damage as error:
        damage = error
    if last is None and damage and video.num_frames:  # damage after the last frame does not matter
        last = range(0, video.num_frames, selection.step)[-1]
    complete = damage is None if last is None else decoded > last
    if decoded == 0 or not (complete or (allow_short and size is not None)):
        cause = f" ({damage})" if damage else ""
        if decoded == 0:
            raise MediaError("corrupt", f"{uri}: no frame can be decoded{cause}; replace the file")
        count = (
            f"decoded {decoded} of {counted(video.num_frames, 'frame')}"
            if video.num_frames
            else f"decoded {counted(decoded, 'frame')}"
        )
        wanted = f", but frame {last} is requested" if last is not None and not (damage and video.num_frames) else ""
        raise MediaError("short_read", f"{uri}: {count}{wanted}{cause}; {advice.SHORT.run}")
    if not complete and left_out is not None:
        left_out.append(LeftOut(CUT_OFF, 1, uri))
