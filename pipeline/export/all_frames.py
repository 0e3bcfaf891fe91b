"""Every frame that a pair was asked for: servers want each of them, whatever became of the pair."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa

from pipeline.masks.by_video import PairMasks, frame_name, names_by_index
from pipeline.video import VideoHeader, probe
from schemas import rle
from schemas.errors import InputError, MediaError, pair_message
from schemas.masks import PREDICTIONS

Missing = Literal["error", "empty"]
SHOWN = 20  # problems in one message

Place = tuple[int | None, str]  # index in the source (None: not known) and name of a frame


class IncompletePairs:
    """Frames without a mask, gathered over all videos, to be refused together."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.count = 0

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.problems) < SHOWN:
            self.problems.append(problem)

    def refuse(self) -> None:
        """Raise InputError if there are any."""
        if self.count:
            more = [f"... and {self.count - len(self.problems)} more"] if self.count > len(self.problems) else []
            advice = "do failed pairs again ('rvos segment --retry-errors'), or take empty masks with --missing empty"
            raise InputError("\n".join([*self.problems, *more, f"{self.count} pairs are not complete; {advice}"]))


def with_all_frames(
    video: Sequence[PairMasks], missing: Missing, lacking: IncompletePairs
) -> tuple[list[PairMasks], int]:
    """The pairs of one video with exactly the frames asked for, and how many masks were filled in.

    Asked for is what the manifest row lists, by name or by index, else every frame that some pair of the video has,
    else all frames of the video. With `missing` "error" nothing is filled in: what lacks goes to `lacking`. Raises
    InputError if a size or a name must be known and the video cannot be opened.
    """
    found, filled = [], 0
    known = _known(video)
    for pair in video:
        rows = {frame_name(row): row for row in pair.frames.to_pylist()}
        asked = _asked(pair, known)
        if not asked and missing == "error":
            lacking.add(pair.message(pair.problem))
            continue
        places = asked or _of_source(pair)
        absent = [place for place in places if place[1] not in rows]
        if absent and missing == "error":
            text = f"{len(absent)} of {len(places)} frames have no mask, the first is {absent[0][1]}"
            lacking.add(pair.message(pair.problem or text))
            continue
        filled += len(absent)
        found.append(_with(pair, rows, places, video) if absent or len(places) < len(rows) else pair)
    return found, filled


def listed(row: dict) -> list[str] | list[int] | None:
    """The frames that a manifest row lists, by name or by index; None if none. Raises InputError for a null."""
    found = row.get("target_frames") or row.get("frames") or row.get("frame_indices")
    if found and None in found:
        text = "its list of frames holds a null; correct the manifest"
        raise InputError(pair_message(row["video_id"], row["expression_id"], text))
    return found or None


def names_of(indices: Iterable[int], header: VideoHeader) -> list[str]:
    """Names of frames by their positions in the full source: those in the folder, else five digits."""
    names = header.names or ()
    return [names[index] if 0 <= index < len(names) else f"{index:05d}" for index in indices]


def _known(video: Sequence[PairMasks]) -> dict[str, int]:
    """Name -> index of every frame that some pair of the video has, in the order of the video."""
    places = {name: index for pair in video for index, name in names_by_index(pair.frames).items()}
    return dict(sorted(places.items(), key=lambda place: place[1]))


def _asked(pair: PairMasks, known: dict[str, int]) -> list[Place]:
    """The frames that the manifest lists, else those that are known; none if nothing is."""
    frames: Any = listed(pair.row)
    if frames is None:
        return [(index, name) for name, index in known.items()]
    if isinstance(frames[0], str):
        return [(known.get(name), name) for name in frames]
    named = {index: name for name, index in known.items()}
    absent = [index for index in frames if index not in named]
    named |= dict(zip(absent, names_of(absent, _probe(pair)), strict=True)) if absent else {}
    return [(index, named[index]) for index in frames]


def _of_source(pair: PairMasks) -> list[Place]:
    header = _probe(pair)
    count = header.num_frames or pair.row.get("num_frames")
    if count is None:
        raise InputError(pair.message("how many frames has the video? Add num_frames or frames to the manifest"))
    return list(enumerate(names_of(range(count), header)))


def _with(pair: PairMasks, rows: dict[str, dict], places: list[Place], video: Sequence[PairMasks]) -> PairMasks:
    """The pair with a row for each place, empty masks where it has none."""
    shown = next((row for one in video for row in one.frames.slice(0, 1).to_pylist()), None)
    height, width = (shown["height"], shown["width"]) if shown else _size(pair)
    common = {"video_id": pair.video_id, "expression_id": pair.expression_id, "height": height, "width": width}
    common |= {"counts": rle.empty(height, width), "score": 0.0, "status": "ok"}
    made = [
        rows.get(name) or common | {"frame_index": place if index is None else index, "frame_name": name}
        for place, (index, name) in enumerate(places)
    ]
    return replace(pair, frames=pa.Table.from_pylist(made, schema=PREDICTIONS), problem=None)


def _size(pair: PairMasks) -> tuple[int, int]:
    header = _probe(pair)
    return header.height, header.width


def _probe(pair: PairMasks) -> VideoHeader:
    if "video_uri" not in pair.row:
        raise InputError(pair.message("its frames are not known; give its manifest with --manifest"))
    try:
        return probe(pair.row["video_uri"])
    except MediaError as error:
        raise InputError(pair.message(f"no mask tells the names and size of its frames, and {error}")) from None
