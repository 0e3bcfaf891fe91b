"""From the plan rows of a unit to the windows of frames that the model sees: which videos, which frames, streamed."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.io.manifest import row_problems
from pipeline.video import Frame, LastFile, Selection, read_frames
from schemas.errors import MediaError


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameOptions:
    """How frames are read and cut into windows. All of it decides the masks."""

    window: int | None = 36  # frames of one model call; None: the whole video
    overlap: int = 0  # frames that a window shares with the next one, below `window`
    max_whole_frames: int = 300  # with window None: longer videos are refused, row by row
    frame_step: int = 1
    decoder: str = "pyav"
    allow_short: bool = False
    reduce_window: bool = False  # where memory does not suffice: halves of the window, instead of an error row


@dataclass(slots=True)
class Clip:
    """The pairs of one video that ask for the same frames: decoded once for all of them."""

    video_id: str
    uri: str
    selection: Selection
    pairs: list[dict]  # manifest rows

    @property
    def targets(self) -> list[frozenset[str] | None]:
        """For each pair the names of the frames to output; None: all."""
        return [frozenset(pair["target_frames"]) if pair.get("target_frames") else None for pair in self.pairs]


@dataclass(slots=True)
class Window:
    """The frames of one model call, as the model takes them."""

    clip: Clip
    indices: list[int] = field(default_factory=list)  # position in the full source sequence
    names: list[str] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)  # uint8 [h, w, 3], prepared
    size: tuple[int, int] = (0, 0)  # displayed height and width
    seconds: float = 0.0  # decoding and resizing of what no earlier window has
    start: int = 0  # place of the first frame among those of the clip; 0 where windows share none
    final: int | None = None  # no later window has a frame before this place; None: windows share none

    def part(self, start: int, stop: int) -> "Window":
        """Some of its frames, as a window."""
        some = slice(start, stop)
        cut = {name: getattr(self, name)[some] for name in ("indices", "names", "frames")}
        return replace(self, start=self.start + start, **cut)


@dataclass(slots=True)
class ClipEnd:
    """After the last window of a clip; with `error`, what was read of it does not count."""

    clip: Clip
    error: MediaError | None
    seconds: float


def split_rows(rows: list[dict], frame_step: int) -> tuple[list[Clip], list[tuple[dict, str]]]:
    """The clips to decode for these plan rows, and the rows that cannot be done with what is wrong with them."""
    clips: dict[tuple, Clip] = {}
    bad = []
    for row in rows:
        problems = "; ".join(row_problems(row))
        if problems:
            bad.append((row, problems))
            continue
        names, indices = row.get("frames"), row.get("frame_indices")
        selection = Selection(
            names=tuple(names) if names is not None else None,
            indices=tuple(indices) if indices is not None else None,
            step=frame_step if names is None and indices is None else 1,
        )
        key = (row["video_id"], row["video_uri"], selection)
        clips.setdefault(key, Clip(row["video_id"], row["video_uri"], selection, [])).pairs.append(row)
    return list(clips.values()), bad


def read_windows(
    clips: list[Clip], options: FrameOptions, prepare: Callable[[np.ndarray], np.ndarray]
) -> Iterator[Window | ClipEnd]:
    """Windows of each clip in turn, each clip closed by its ClipEnd. Runs in the decoding thread.

    `prepare` brings a frame to the model's size at once, so that a window holds no full-size frames. A remote file is
    fetched once for clips of it that follow each other.
    """
    with LastFile() as copy:
        for clip in clips:
            yield from _read_clip(clip, options, prepare, copy)


def _read_clip(
    clip: Clip, options: FrameOptions, prepare: Callable[[np.ndarray], np.ndarray], copy: LastFile
) -> Iterator[Window | ClipEnd]:
    error = None
    started = time.perf_counter()
    windows = _cut(clip, options, prepare, copy)
    try:
        for window in _announced(windows) if options.overlap else windows:
            yield window
            started = time.perf_counter()
    except MediaError as media_error:
        error = media_error
    yield ClipEnd(clip, error, time.perf_counter() - started)


def _cut(
    clip: Clip, options: FrameOptions, prepare: Callable[[np.ndarray], np.ndarray], copy: LastFile
) -> Iterator[Window]:
    """The windows of a clip. With an overlap each begins with the last frames of the one before, the last one with so
    many that it is full too; else the last one may be shorter."""
    started = time.perf_counter()
    last, new = None, Window(clip)
    for count, frame in enumerate(_frames(clip, options, copy), start=1):
        if options.window is None and count > options.max_whole_frames:
            raise MediaError("bad_row", _too_long(options.max_whole_frames))
        if options.window and len(new.frames) == options.window - (options.overlap if last else 0):
            window = _after(last, new, options.window)
            window.seconds = time.perf_counter() - started
            yield window
            started = time.perf_counter()
            last, new = window if options.overlap else None, Window(clip)
        _append(new, frame, prepare)
    if new.frames:
        window = _after(last, new, options.window)
        window.seconds = time.perf_counter() - started
        yield window


def _after(last: Window | None, new: Window, length: int | None) -> Window:
    """The new frames, with as many of the window before in front of them as make a full one."""
    if last is None or length is None:
        return new
    shared = last.part(len(new.frames), length)
    for name in ("indices", "names", "frames"):
        getattr(shared, name).extend(getattr(new, name))
    return shared


def _announced(windows: Iterator[Window]) -> Iterator[Window]:
    """Windows that share frames, each when it is known which of its frames the next one has too."""
    window = next(windows, None)
    while window:
        following = next(windows, None)
        window.final = following.start if following else window.start + len(window.frames)
        yield window
        window = following


def _frames(clip: Clip, options: FrameOptions, copy: LastFile) -> Iterator[Frame]:
    """The frames of a clip, with all target frames among them."""
    missing = {name for targets in clip.targets for name in targets or ()}
    frames = read_frames(clip.uri, clip.selection, decoder=options.decoder, allow_short=options.allow_short, copy=copy)
    for frame in frames:
        missing.discard(frame.name)
        yield frame
    if missing and not options.allow_short:
        raise MediaError("missing", "this target frame is not in the video; mend target_frames", min(missing))


def _append(window: Window, frame: Frame, prepare: Callable[[np.ndarray], np.ndarray]) -> None:
    window.size = (frame.image.shape[0], frame.image.shape[1])
    window.indices.append(frame.index)
    window.names.append(frame.name)
    try:
        window.frames.append(prepare(frame.image))
    except ValueError as error:
        raise MediaError("bad_row", f"{error}; change --short-side or --max-size", frame.name) from None


def _too_long(limit: int) -> str:
    return (
        f"the video has more than {limit} frames, the most that '--window whole' takes at once; "
        "raise --max-whole-frames if memory allows, or use --window 36"
    )
