"""The types for reading a video: frames, the selection of frames, and the header."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from schemas.errors import MediaError
from schemas.printable import counted
from schemas.rle import MAX_SIDE

MAX_PIXELS = 2**26  # of one frame, twice 8K UHD; larger ones fail before memory is allocated


class LeftOut(NamedTuple):
    """Parts of a video that are not decoded: `count` of one sort, the first of them at `place`."""

    reason: str
    count: int
    place: str


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its position in the full source sequence, its name and its image.

    `name` is the file stem in a folder and `%05d` of the index in a video file; `image` is uint8 [H, W, 3] RGB as
    displayed (with the rotation of the video file applied). `time` and `duration`, in seconds, are what the file says
    of when it is shown, right or wrong; None if it says nothing, as a folder.
    """

    index: int
    name: str
    image: np.ndarray
    time: Fraction | None = None
    duration: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Frames to read: by name, by index, or every `step`-th if neither is set.

    `is_sequence`: the names are listed in the order of the video, and not merely a set. The order of the images of a
    folder is an assumption, so a list that contradicts it is an error.
    """

    names: tuple[str, ...] | None = None
    indices: tuple[int, ...] | None = None
    step: int = 1
    is_sequence: bool = False

    def __post_init__(self) -> None:
        if self.names is not None and self.indices is not None:
            raise ValueError("select frames by names or by indices, not by both")
        if self.step < 1:
            raise ValueError(f"frame step must be at least 1, got {self.step}")

    def resolve(self, uri: str, num_frames: int | None, names: tuple[str, ...] | None) -> tuple[int, ...] | None:
        """Return the selected indices, ascending and distinct; None for all frames (the reader applies `step`).

        `num_frames` and `names` are those of VideoHeader. Raises MediaError: `missing` if the folder lacks a name,
        `bad_row` if a name is not an index of the video file, an index is outside the source, or a sequence has
        another order than the folder.
        """
        if self.names is None and self.indices is None:
            return None
        selected = self.indices if self.names is None else _indices_of(self.names, names, uri)
        indices = tuple(sorted(set(selected or ())))
        if self.is_sequence and self.names is not None and names is not None:
            _require_order(selected or (), names, uri)
        if not indices:
            raise MediaError("bad_row", f"{uri}: the list of frames is empty; use null for all frames")
        if indices[0] < 0:
            raise MediaError("bad_row", f"{uri}: frame indices count from 0; correct the row", indices[0])
        if num_frames is not None and indices[-1] >= num_frames:
            reason = f"{uri} has {counted(num_frames, 'frame')}, the last index is {num_frames - 1}; correct the row"
            raise MediaError("bad_row", reason, indices[-1])
        return indices


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """Properties of a video that are known before its frames are read.

    `num_frames` is None for files without a frame count (Matroska, WebM, streams). `height` and `width` are those of
    the displayed image. `names` are the frame names of a folder, in order; None for a video file. `left_out` is what
    will not be read of the folder or file.
    """

    num_frames: int | None
    height: int
    width: int
    names: tuple[str, ...] | None = None
    left_out: tuple[LeftOut, ...] = ()


def check_size(width: int, height: int, uri: str, frame: str | int | None = None) -> None:
    """Raise MediaError (`bad_row`) if an image is too large for a frame, before memory is allocated for it."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= MAX_PIXELS):
        limit = f"at most {MAX_PIXELS} pixels, {MAX_SIDE} a side"
        reason = f"{uri}: frame size {width}x{height} is out of bounds ({limit}); scale it down"
        raise MediaError("bad_row", reason, frame)


def check_same_size(image: np.ndarray, size: tuple[int, int], uri: str, frame: str | int) -> None:
    """Raise MediaError (`corrupt`) if an image differs from the (height, width) of the frames before it."""
    height, width = image.shape[:2]
    if (height, width) != size:
        reason = f"{uri}: frame size changes from {size[1]}x{size[0]} to {width}x{height}; scale all frames to one size"
        raise MediaError("corrupt", reason, frame)


def _require_order(selected: Sequence[int], names: tuple[str, ...], uri: str) -> None:
    for one, two in itertools.pairwise(selected):
        if one > two:
            text = f"{uri}: frames lists {names[one]} before {names[two]}, but in natural order the folder has it after"
            raise MediaError("bad_row", f"{text}; rename the images so that both have one order", names[one])


def _indices_of(wanted: tuple[str, ...], names: tuple[str, ...] | None, uri: str) -> list[int]:
    if names is not None:
        index_of = {name: index for index, name in enumerate(names)}
        absent = [name for name in wanted if name not in index_of]
        if absent:
            reason = f"{uri} lacks {len(absent)} of the {len(wanted)} requested frames; correct the row or add them"
            raise MediaError("missing", reason, absent[0])
        return [index_of[name] for name in wanted]
    for name in wanted:
        if not (name.isascii() and name.isdigit() and len(name) <= 9):
            reason = f"{uri} is a video file: name its frames by index (00000, 00001, ...); correct the row"
            raise MediaError("bad_row", reason, name)
    return [int(name) for name in wanted]
