"""The examples to train on: one row per manifest row that can teach something, checked and ready to be read.

Manifests, annotations (or pseudo-labels) and the headers of all videos come together here, once, before the start;
the workers read nothing but this table and the frames.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.io import storage
from pipeline.io.manifest import read_manifest, row_problems
from pipeline.io.parallel import bounded_map
from pipeline.masks.annotations import Annotations
from pipeline.runs.run import is_run
from pipeline.video import Selection, VideoHeader, probe
from schemas import rle
from schemas.check import conform, required
from schemas.errors import InputError, MediaError, pair_message
from schemas.masks import PREDICTIONS

OPENERS = 16  # videos opened at once; mostly waiting for storage
SHOWN = 20  # problems listed in one message

EXAMPLES = pa.schema(
    [
        pa.field("source", pa.int32()),  # which of the manifests
        pa.field("video_id", pa.string()),
        pa.field("video_uri", pa.string()),
        pa.field("expression_id", pa.string()),
        pa.field("expression", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("frames", pa.list_(pa.int32())),  # all that the row speaks of, as positions in the source sequence
        pa.field("annotated", pa.list_(pa.int32())),  # those with a mask or a known absence
        pa.field("counts", pa.list_(pa.binary())),  # of these: the mask of all objects meant; null: absent
    ],
    metadata=required("source", "video_uri", "expression", "frames", "annotated", "counts"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSource:
    """One manifest with its annotations, or with a run of `rvos segment` as pseudo-labels."""

    manifest: str
    annotations: str
    min_score: float = 0.0  # of pseudo-labels: pairs with a lower pair_score are left out


@dataclass(frozen=True, slots=True)
class MaskTrack:
    """Masks of one object or expression by frame; None: known to be absent."""

    masks: dict[int, bytes | None]
    names: dict[int, str | None]
    size: tuple[int, int]


MaskTracks = dict[tuple[str, str], MaskTrack]  # by video_id, and object_id or expression_id


def gather_examples(sources: Sequence[TrainingSource]) -> tuple[pa.Table, Counter[str]]:
    """EXAMPLES of all sources, and how many manifest rows are left out, by reason.

    Rows without annotation or whose object never shows are left out. Rows without a target teach that nothing is
    meant, in the frames in which any object of their video is annotated. Raises InputError with a list of whatever is
    wrong: bad rows, videos that cannot be opened, masks that are broken or of another size, a source that has nothing
    to teach.
    """
    rows, left_out = [], Counter[str]()
    for number, source in enumerate(sources):
        manifest = read_manifest(source.manifest).to_pylist()
        tracks, by_object = read_mask_tracks(source, {row["video_id"] for row in manifest})
        of_video = _by_video(tracks)
        headers = _open_videos(manifest, source.manifest)
        problems: list[str] = []
        found = 0
        for row in manifest:
            example = _example(row, headers[row["video_uri"]], of_video[row["video_id"]], by_object, problems)
            if isinstance(example, str):
                left_out[example] += 1
            else:
                rows.append({"source": number, **example})
                found += any(example["counts"])
        _refuse(problems, source.annotations)
        if not found:
            raise InputError(
                f"{source.manifest} has {len(manifest)} rows, and none of them has an object to learn from in "
                f"{source.annotations}: {', '.join(f'{n} {reason}' for reason, n in left_out.items())}"
            )
    return pa.Table.from_pylist(rows, schema=EXAMPLES), left_out


def read_mask_tracks(source: TrainingSource, videos: Collection[str]) -> tuple[MaskTracks, bool]:
    """The masks of these videos, and whether they are by object (else by expression)."""
    uri = storage.absolute(source.annotations)
    if is_run(uri):
        return _group(_pseudo_labels(uri, source.min_score), "expression_id"), False
    truth = Annotations.open(uri)
    return _group(truth.rows(videos), truth.key), truth.key == "object_id"


def _pseudo_labels(run: str, min_score: float) -> pa.Table:
    """The good rows of a run's masks."""
    folder, tables = storage.join(run, "masks"), []
    names = storage.names(folder) if storage.is_folder(folder) else []
    columns = ["video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts"]
    for name in names:
        uri = storage.join(folder, name)
        table = conform(storage.read_table(uri, [*columns, "pair_score", "status"]), PREDICTIONS, uri)
        good = pc.and_(pc.equal(table["status"], "ok"), pc.greater_equal(table["pair_score"], min_score))
        tables.append(table.filter(good).select(columns))
    if not any(table.num_rows for table in tables):
        raise InputError(f"the run {run} has no masks with a pair_score of {min_score} or more; finish it, or lower it")
    return pa.concat_tables(tables)


def _group(table: pa.Table, key: str) -> MaskTracks:
    tracks: MaskTracks = {}
    for row in table.to_pylist():
        index = row["frame_index"]
        track = tracks.setdefault((row["video_id"], row[key]), MaskTrack({}, {}, (row["height"], row["width"])))
        if (row["height"], row["width"]) != track.size:
            raise InputError(f"video_id={row['video_id']} {key}={row[key]}: masks of two sizes; make all one size")
        counts = row["counts"]
        empty = counts is None or counts == rle.empty(*track.size)
        track.masks[index] = None if empty else counts
        track.names[index] = row.get("frame_name")
    return tracks


def _by_video(tracks: MaskTracks) -> dict[str, dict[str, MaskTrack]]:
    """By video_id, then by object_id or expression_id."""
    videos: dict[str, dict[str, MaskTrack]] = defaultdict(dict)
    for (video, name), track in tracks.items():
        videos[video][name] = track
    return videos


def _open_videos(manifest: list[dict], source: str) -> dict[str, VideoHeader]:
    """Headers by URI; InputError for all that is wrong with rows and videos."""
    problems = [
        pair_message(row["video_id"], row["expression_id"], problem)
        for row in manifest
        for problem in row_problems(row)
    ]
    _refuse(problems, source)
    uris = sorted({row["video_uri"] for row in manifest})
    headers: dict[str, VideoHeader] = {}
    for uri, found in zip(uris, bounded_map(_probe, uris, OPENERS), strict=True):
        if isinstance(found, MediaError):
            problems.append(str(found))
        else:
            headers[uri] = found
    _refuse(problems, source)
    return headers


def _probe(uri: str) -> VideoHeader | MediaError:
    try:
        return probe(uri)
    except MediaError as error:
        return error


def _example(
    row: dict, header: VideoHeader, tracks: dict[str, MaskTrack], by_object: bool, problems: list[str]
) -> dict | str:
    """EXAMPLES but for `source`, or why the row is left out; `tracks` are those of its video. What is wrong with it is
    added to `problems`."""
    objects = row.get("object_ids") if by_object else [row["expression_id"]]
    if objects is None:
        problems.append(_message(row, "object_ids is null, and the annotations are by object; name the objects"))
        return "bad"
    meant = [tracks[name] for name in objects or tracks if name in tracks]
    if not meant:
        return "not annotated"
    size = (header.height, header.width)
    if wrong := next((track.size for track in meant if track.size != size), None):
        problems.append(_message(row, f"masks are {wrong[0]}x{wrong[1]}, the video is {size[0]}x{size[1]}"))
        return "bad"
    try:
        frames = _frames(row, header, meant)
        masks = dict(_union(meant, header, _wanted(row, header, frames)))
    except (rle.RleError, MediaError) as error:
        problems.append(_message(row, str(error)))
        return "bad"
    if not objects:
        masks = dict.fromkeys(masks)
    elif not any(masks.values()):
        return "never show their object"
    columns = ("video_id", "video_uri", "expression_id")
    return {name: row[name] for name in columns} | {
        "expression": " ".join(row["expression"].lower().split()),  # as published
        "height": size[0],
        "width": size[1],
        "frames": frames,
        "annotated": list(masks),
        "counts": list(masks.values()),
    }


def _frames(row: dict, header: VideoHeader, meant: list[MaskTrack]) -> list[int]:
    """All frames that the row speaks of. Where a file does not tell its length, it ends with the last annotation."""
    names, indices = row.get("frames"), row.get("frame_indices")
    selection = Selection(names and tuple(names), indices and tuple(indices))
    chosen = selection.resolve(row["video_uri"], header.num_frames, header.names)
    last = max(max(track.masks) for track in meant)
    return list(chosen if chosen is not None else range(header.num_frames or last + 1))


def _wanted(row: dict, header: VideoHeader, frames: list[int]) -> frozenset[int]:
    """Those of `frames` that may have a target: all, or `target_frames` where the row has some."""
    targets = row.get("target_frames")
    if not targets:
        return frozenset(frames)
    chosen = Selection(tuple(targets)).resolve(row["video_uri"], header.num_frames, header.names)
    return frozenset(frames) & frozenset(chosen or ())


def _union(meant: list[MaskTrack], header: VideoHeader, wanted: frozenset[int]) -> Iterator[tuple[int, bytes | None]]:
    """Frame and mask of all objects together, in order; frames are found by name where both sides have names."""
    index_of = {name: index for index, name in enumerate(header.names or ())}
    masks: dict[int, list[bytes]] = defaultdict(list)
    for track in meant:
        for index, counts in track.masks.items():
            name = track.names[index]
            place = index_of.get(name, -1) if name is not None and index_of else index
            if place in wanted:
                masks[place] += [counts] if counts is not None else []
    for place in sorted(masks):
        for counts in masks[place]:
            rle.check(counts, header.height, header.width)
        if len(masks[place]) < 2:
            yield place, next(iter(masks[place]), None)
        else:
            size = [header.height, header.width]
            merged: Any = coco.merge([{"size": size, "counts": counts} for counts in masks[place]])
            yield place, merged["counts"]


def _message(row: dict, text: str) -> str:
    return pair_message(row["video_id"], row["expression_id"], text)


def _refuse(problems: list[str], source: str) -> None:
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError("\n".join([f"{source}: {len(problems)} problems", *problems[:SHOWN], *more]))
