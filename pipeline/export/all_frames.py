"""Complete the frames of each pair: servers want a mask for every requested frame, even where the pair failed."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.masks.predictions import frame_step
from pipeline.masks.row_groups import frame_name
from pipeline.video import VideoHeader, probe
from schemas import rle
from schemas.advice import outside_a_run
from schemas.errors import InputError, MediaError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from schemas.printable import counted

MissingExportMasks = Literal["error", "empty"]
FRAME_LISTS = ("target_frames", "frames", "frame_indices")  # columns of a manifest; the first that is set counts
PROBLEMS_SHOWN = 20  # in one message


@dataclass(slots=True)
class IncompletePairs:
    """Pairs that lack masks, collected over all videos so that one error names them."""

    problems: list[str] = field(default_factory=list)  # the first of them
    count: int = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)

    def raise_if_any(self) -> None:
        """Raise InputError if a pair is incomplete."""
        if self.count:
            more = [f"... and {self.count - len(self.problems)} more"] if self.count > len(self.problems) else []
            advice = (
                "segment failed pairs again ('rvos segment --retry-errors'), or write empty masks (--missing empty)"
            )
            raise InputError("\n".join([*self.problems, *more, f"{counted(self.count, 'incomplete pair')}: {advice}"]))


def complete_videos(
    source: MaskSource, out: str, missing: MissingExportMasks, counts: dict[str, int]
) -> Iterator[list[PairMasks]]:
    """Yield the pairs of each video with all requested frames, see `with_all_frames`.

    Adds to the counts of videos, pairs and filled (empty masks). Raises InputError at the end if pairs are incomplete,
    naming all of them, or if there is no pair; `out` is for its text.
    """
    incomplete = IncompletePairs()
    for video in source.videos():
        pairs, filled = with_all_frames(video, missing, incomplete)
        counts["videos"] += 1
        counts["pairs"] += len(pairs)
        counts["filled"] += filled
        if not incomplete.count:  # else it will fail: continue only to name everything
            yield pairs
    incomplete.raise_if_any()
    if not counts["pairs"]:
        raise InputError(f"no mask to write to {out}: {source.uri} holds no pairs")


def with_all_frames(
    video: Sequence[PairMasks], missing: MissingExportMasks, incomplete: IncompletePairs
) -> tuple[list[PairMasks], int]:
    """Return the pairs of one video with exactly the frames requested, and the number of empty masks added.

    The frames requested are those that the manifest row lists, by name or by index; else every frame that some pair of
    the video has; else all frames of the video. With `missing` "error" no mask is added, and pairs that lack one go to
    `incomplete`. Raises InputError if a frame name or a size is needed and the video cannot be opened.
    """
    named = [row for pair in video for row in pair.frames.select(["frame_index", "frame_name"]).to_pylist()]
    indices = {frame_name(row): row["frame_index"] for row in named}
    indices = dict(sorted(indices.items(), key=lambda item: item[1]))
    completed, added = [], 0
    for pair in video:
        rows = {frame_name(row): row for row in pair.frames.to_pylist()}
        requested = _requested_frames(pair, indices)
        if not requested and missing == "error":
            incomplete.add(pair.message(pair.problem))
            continue
        if not requested:
            header = _open_video(pair)
            count = header.num_frames or pair.row.get("num_frames")
            if count is None:
                text = "the number of frames of its video is unknown; add num_frames or frames to the manifest"
                raise InputError(pair.message(text))
            requested = list(enumerate(frame_names_at(range(count), header)))
        absent = [name for _, name in requested if name not in rows]
        if absent and missing == "error":
            text = f"{len(absent)} of {len(requested)} frames have no mask, the first is {absent[0]}"
            incomplete.add(pair.message(pair.problem or text))
            continue
        added += len(absent)
        completed.append(_with_frames(pair, rows, requested, video) if absent or len(requested) < len(rows) else pair)
    return completed, added


def listed_frames(row: dict) -> list[str] | list[int] | None:
    """Return the frames that a manifest row lists, by name or by index; None if it lists none.

    Raises InputError if the list holds a null.
    """
    frames = next((row[name] for name in FRAME_LISTS if row.get(name)), None)
    if frames and None in frames:
        text = "its list of frames holds a null; correct the manifest"
        raise InputError(f"{PairKey.of(row)}: {text}")
    return frames


def frame_names_at(indices: Iterable[int], header: VideoHeader) -> list[str]:
    """Return the names of frames by their positions in the full source: of a video file, five digits of the index."""
    names = header.names or ()
    return [names[index] if 0 <= index < len(names) else f"{index:05d}" for index in indices]


def frame_step_notes(source: MaskSource) -> list[str]:
    """Return a note if the run skipped frames (--frame-step) and some manifest row does not list its frames."""
    step = frame_step(source.uri)
    if step == 1 or source.manifest is None:
        return []
    unset = [source.manifest[name].is_null() for name in FRAME_LISTS if name in source.manifest.column_names]
    if unset and not pc.any(functools.reduce(pc.and_, unset)).as_py():
        return []
    return [
        f"the run segmented 1 of {step} frames (--frame-step); the others are written only if the manifest lists them"
    ]


def _requested_frames(pair: PairMasks, indices: dict[str, int]) -> list[tuple[int | None, str]]:
    """Index (None if unknown) and name of the frames that the manifest lists, else of all in `indices`."""
    frames: Any = listed_frames(pair.row)
    if frames is None:
        return [(index, name) for name, index in indices.items()]
    if isinstance(frames[0], str):
        return [(indices.get(name), name) for name in frames]
    names = {index: name for name, index in indices.items()}
    unnamed = [index for index in frames if index not in names]
    if unnamed:
        names |= zip(unnamed, frame_names_at(unnamed, _open_video(pair)), strict=True)
    return [(index, names[index]) for index in frames]


def _with_frames(
    pair: PairMasks, rows: dict[str, dict], requested: Sequence[tuple[int | None, str]], video: Sequence[PairMasks]
) -> PairMasks:
    """Return the pair with a row for each frame requested: its own, or an empty mask of the size of the video."""
    first = next((row for one in video for row in one.frames.slice(0, 1).to_pylist()), None)
    if first is None:
        header = _open_video(pair)
        first = {"height": header.height, "width": header.width}
    height, width = first["height"], first["width"]
    empty = {"video_id": pair.video_id, "expression_id": pair.expression_id, "height": height, "width": width}
    empty |= {"counts": rle.empty(height, width), "score": 0.0, "status": "ok"}
    frames = [
        rows.get(name) or empty | {"frame_index": position if index is None else index, "frame_name": name}
        for position, (index, name) in enumerate(requested)
    ]
    return replace(pair, frames=pa.Table.from_pylist(frames, schema=PREDICTIONS), problem=None)


def _open_video(pair: PairMasks) -> VideoHeader:
    if "video_uri" not in pair.row:
        raise InputError(pair.message("its frames are unknown; give its manifest with --manifest"))
    try:
        return probe(pair.row["video_uri"])
    except MediaError as error:
        text = f"cannot determine frame names and size: the pair has no mask, and {outside_a_run(str(error))}"
        raise InputError(pair.message(text)) from None
