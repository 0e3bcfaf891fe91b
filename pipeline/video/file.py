"""A video file as frames: picking by count from a sequential decode, and noticing when it ends too early."""

from collections.abc import Callable, Iterator
from typing import Protocol, Self

import numpy as np

from pipeline.video.types import Frame, Selection, VideoHeader, check_same_size
from schemas.errors import MediaError

Picture = Callable[[], np.ndarray]  # converts a decoded picture to uint8 [H, W, 3] RGB, rotated for display


class Damage(Exception):  # noqa: N818 - not a failure by itself: the frames wanted may all lie before it
    """Decoding cannot go on; the text says why."""


class VideoReader(Protocol):
    """An open video file. `num_frames` is what its header promises to decode, None where it does not say."""

    num_frames: int | None

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def __iter__(self) -> Iterator[Picture]:
        """All pictures in presentation order. Raises Damage where the file is broken or cut off."""
        ...


def probe(video: VideoReader, uri: str) -> VideoHeader:
    """Header of an open file; one frame is decoded, since only frames tell the rotation."""
    for frame in read(video, uri, Selection(indices=(0,)), allow_short=False):
        return VideoHeader(video.num_frames, *frame.image.shape[:2])
    raise AssertionError("reading frame 0 yields it or raises")


def read(video: VideoReader, uri: str, selection: Selection, allow_short: bool) -> Iterator[Frame]:
    """The selected frames of an open file; see `pipeline.video.read_frames`."""
    wanted = selection.resolve(uri, video.num_frames, None)
    chosen = None if wanted is None else frozenset(wanted)
    last = None if wanted is None else wanted[-1]
    decoded, size, damage = 0, None, None
    try:
        for picture in video:
            if decoded in chosen if chosen is not None else decoded % selection.step == 0:
                image = picture()
                size = size or image.shape[:2]
                check_same_size(image, size, uri, decoded)
                yield Frame(decoded, f"{decoded:05d}", image)
            decoded += 1
            if decoded - 1 == last:
                return
    except Damage as error:
        damage = error
    if last is None and video.num_frames is not None:
        last = range(0, video.num_frames, selection.step)[-1]
    complete = damage is None if last is None else decoded > last
    if decoded == 0 or not (complete or (allow_short and size is not None)):
        raise _short(uri, decoded, video.num_frames, last, damage)


def _short(uri: str, decoded: int, promised: int | None, last: int | None, damage: Damage | None) -> MediaError:
    because = f" ({damage})" if damage else ""
    if decoded == 0:
        return MediaError("corrupt", f"{uri}: no frame can be decoded{because}; replace the file")
    count = f"decoded {decoded} of {promised} frames" if promised else f"decoded {decoded} frames"
    wish = f", frame {last} is asked for" if last is not None and not promised else ""
    reason = f"{uri}: {count}{wish}{because}; replace the file, or take what there is with --allow-short"
    return MediaError("short_read", reason)
