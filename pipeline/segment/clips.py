"""Read the videos of a unit as windows of frames for the model."""

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from model.segmenter import Segmenter
from pipeline.io.manifest import row_problems
from pipeline.segment.exclusive_masks import group_of, spread_problems
from pipeline.video import Frame, LastFile, LeftOut, Selection, read_frames
from schemas import advice
from schemas.errors import InputError, MediaError, ServerError
from schemas.pair import PairKey

Prepare = Callable[[np.ndarray], np.ndarray]  # uint8 [H, W, 3] to [h, w, 3]; ValueError for a size that does not fit


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameOptions:
    """Options to read frames and cut them into windows. Masks depend on all of them."""

    window: int | None = 36  # frames of one model call; None: the whole video
    overlap: int = 0  # frames that a window shares with the next one, below `window`
    max_whole_frames: int = 300  # with window None: the pairs of longer videos fail
    frame_step: int = 1
    decoder: str = "pyav"
    allow_short: bool = False
    context: bool = False  # every pair has one target frame, in the middle of `window` frames
    exclusive: bool = False  # the masks of one annotator exclude each other
    follows: bool = False  # each window has its position in the video

    def of(self, segmenter: Segmenter) -> "FrameOptions":
        """Return the options with what a follower needs: positions, and as many shared frames as it looks ahead.

        Raises InputError if windows are not longer than that.
        """
        if segmenter.lookahead is None:
            return self
        if self.window is not None and self.window <= segmenter.lookahead:
            raise InputError(f"this model follows objects: its windows need more than {segmenter.lookahead} frames")
        return replace(self, follows=True, overlap=max(self.overlap, segmenter.lookahead))


@dataclass(slots=True)
class Clip:
    """The pairs of one video that ask for the same frames, which are decoded once for all of them."""

    video_id: str
    uri: str
    selection: Selection
    pairs: list[dict]  # manifest rows
    exclusive: bool = False  # pairs are sorted by group, and masks of a group exclude each other

    @property
    def groups(self) -> list[list[dict]]:
        """The pairs that must be segmented together: those of one annotator if masks exclude each other, else each."""
        if not self.exclusive:
            return [[pair] for pair in self.pairs]
        return [list(group) for _, group in itertools.groupby(self.pairs, group_of)]

    @property
    def targets(self) -> list[frozenset[str] | None]:
        """Names of the frames to output for each pair; None: all."""
        return [frozenset(pair["target_frames"]) if pair.get("target_frames") else None for pair in self.pairs]


@dataclass(slots=True)
class Window:
    """The frames of one model call."""

    clip: Clip
    indices: list[int] = field(default_factory=list)  # positions in the full source sequence
    names: list[str] = field(default_factory=list)
    frames: list[np.ndarray] = field(default_factory=list)  # uint8 [h, w, 3], prepared for the model
    size: tuple[int, int] = (0, 0)  # displayed height and width
    seconds: float = 0.0  # to decode and resize the frames that no earlier window has
    start: int = 0  # position of the first frame among those of the clip; 0 if windows stand alone
    final: int | None = None  # no later window has a frame before this position; None if windows stand alone


@dataclass(slots=True)
class ClipEnd:
    """Follows the last window of a clip. After an `error` its windows do not count."""

    clip: Clip
    error: MediaError | None
    seconds: float
    left_out: list[LeftOut] = field(default_factory=list)  # of the video


def split_rows(rows: list[dict], options: FrameOptions) -> tuple[list[Clip], list[tuple[dict, str]]]:
    """Group plan rows into clips to decode. Also returns the rows that cannot be segmented, with their problems."""
    clips: dict[tuple, Clip] = {}
    checked = [(row, "; ".join(row_problems(row))) for row in rows]
    if options.exclusive:
        checked = spread_problems(checked)
    for row, problem in checked:
        if problem:
            continue
        names, indices = row.get("frames"), row.get("frame_indices")
        selection = Selection(
            names=tuple(names) if names is not None else None,
            indices=tuple(indices) if indices is not None else None,
            step=options.frame_step if names is None and indices is None else 1,
            is_sequence=names is not None,
        )
        targets = tuple(row.get("target_frames") or ()) if options.context else None
        key = (row["video_id"], row["video_uri"], selection, targets)
        clip = Clip(row["video_id"], row["video_uri"], selection, [], options.exclusive)
        clips.setdefault(key, clip).pairs.append(row)
    return list(clips.values()), [(row, problem) for row, problem in checked if problem]


def require_context(manifest: pa.Table, source: str, window: int | None) -> None:
    """Raise InputError for a row that is not one target frame within at most `window` listed frames."""
    lists = [
        pc.list_value_length(manifest[name]) if name in manifest.column_names else None
        for name in ("target_frames", "frame_indices", "frames")
    ]
    targets, *listed = [pa.nulls(manifest.num_rows, pa.int32()) if found is None else found for found in lists]
    counts = pc.fill_null(pc.coalesce(*listed), 0)
    good = pc.and_(pc.equal(pc.fill_null(targets, 0), 1), pc.and_(pc.greater(counts, 0), pc.less_equal(counts, window)))
    row = pc.index(good, pa.scalar(False)).as_py()
    if row >= 0:
        text = f"is not one target frame among at most {window} frames; import the data set with --context {window}"
        raise InputError(f"{source}: {PairKey.of(manifest.slice(row, 1).to_pylist()[0])} {text}")


def read_windows(
    clips: list[Clip], options: FrameOptions, prepare: Prepare, read: Callable[..., Iterator[Frame]] = read_frames
) -> Generator[Window | ClipEnd, None, None]:
    """Decode the windows of each clip in turn, followed by its ClipEnd. `read` reads the frames, as `read_frames` does.

    `prepare` resizes each frame at once, so that a window never holds full-size frames. A remote file is fetched once
    for all clips of it that follow each other.
    """
    with LastFile() as copy:
        for clip in clips:
            error, started, left_out = None, time.perf_counter(), list[LeftOut]()
            windows = _cut(clip, options, prepare, partial(read, copy=copy, left_out=left_out))
            try:
                if options.overlap:
                    windows = _set_final(windows)
                elif options.follows:
                    windows = _set_position(windows)
                for window in windows:
                    yield _with_context(window, options.window) if options.context else window
                    started = time.perf_counter()
            except MediaError as media_error:
                error = media_error
            except ServerError as server_error:
                error = MediaError("missing", str(server_error))
                error.__cause__ = server_error
            yield ClipEnd(clip, error, time.perf_counter() - started, left_out)


def _cut(clip: Clip, options: FrameOptions, prepare: Prepare, read: Callable[..., Iterator[Frame]]) -> Iterator[Window]:
    """Yield the windows of a clip.

    With an overlap each begins with the last frames of the one before, the last one with so many that it is full too.
    Without, the last one may be shorter.
    """
    started = time.perf_counter()
    last, new = None, Window(clip)
    for count, frame in enumerate(_frames(clip, options, read), start=1):
        if options.window is None and count > options.max_whole_frames:
            raise MediaError(
                "bad_row",
                f"the video has more than {options.max_whole_frames} frames, the most that '--window whole' takes at "
                f"once; {advice.WHOLE.run}",
            )
        if options.window and len(new.frames) == options.window - (options.overlap if last else 0):
            window = _join(last, new, options.window)
            window.seconds = time.perf_counter() - started
            yield window
            started = time.perf_counter()
            last, new = window if options.overlap else None, Window(clip)
        new.size = (frame.image.shape[0], frame.image.shape[1])
        new.indices.append(frame.index)
        new.names.append(frame.name)
        try:
            new.frames.append(prepare(frame.image))
        except ValueError as error:
            raise MediaError("bad_row", f"{error}; {advice.SIZE.run}", frame.name) from None
    if new.frames:
        window = _join(last, new, options.window)
        window.seconds = time.perf_counter() - started
        yield window


def _join(last: Window | None, new: Window, length: int | None) -> Window:
    """Return a window of `length` frames: the last frames of the window before, then the new ones."""
    if last is None or length is None:
        return new
    first = len(new.frames)
    return Window(
        new.clip,
        indices=last.indices[first:length] + new.indices,
        names=last.names[first:length] + new.names,
        frames=last.frames[first:length] + new.frames,
        size=last.size,
        start=last.start + first,
    )


def _set_final(windows: Iterator[Window]) -> Iterator[Window]:
    """Yield overlapping windows, each as soon as the start of the next one is known."""
    window = next(windows, None)
    while window:
        following = next(windows, None)
        window.final = following.start if following else window.start + len(window.frames)
        yield window
        window = following


def _set_position(windows: Iterator[Window]) -> Iterator[Window]:
    """Yield windows that share no frames, with their positions."""
    position = 0
    for window in windows:
        window.start, window.final = position, position + len(window.frames)
        position = window.final
        yield window


def _with_context(window: Window, length: int | None) -> Window:
    """Repeat the first and the last frame until the target is in the middle, as published at the ends of a video."""
    (target,) = window.clip.targets[0] or {""}
    count, middle = len(window.names), window.names.index(target) if target in window.names else -1
    before, after = (length or count) // 2 - middle, ((length or count) - 1) // 2 - (count - 1 - middle)
    if middle < 0 or before < 0 or after < 0:
        reason = f"the frames listed are not one target in the middle of at most {length}"
        raise MediaError("bad_row", f"{reason}; import the data set with --context {length}", target)
    order = [0] * before + list(range(count)) + [count - 1] * after
    for name in ("indices", "names", "frames"):
        values = getattr(window, name)
        setattr(window, name, [values[position] for position in order])
    return window


def _frames(clip: Clip, options: FrameOptions, read: Callable[..., Iterator[Frame]]) -> Iterator[Frame]:
    """Yield the frames of a clip. Raises MediaError at the end if a target frame was not among them."""
    missing = {name for targets in clip.targets for name in targets or ()}
    for frame in read(clip.uri, clip.selection, decoder=options.decoder, allow_short=options.allow_short):
        missing.discard(frame.name)
        yield frame
    if missing and not options.allow_short:
        raise MediaError("missing", "the video does not have this target frame; fix target_frames", min(missing))
