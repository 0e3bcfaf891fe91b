"""Build the table of training examples: one checked row per usable manifest row.

It combines manifests, annotations (or pseudo-labels) and the headers of all videos once, before training starts.
Workers then read only this table and the frames.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest, row_problems
from pipeline.io.parallel import bounded_map
from pipeline.masks.annotations import Annotations
from pipeline.masks.table_order import require_column_order
from pipeline.runs.run_json import is_run
from pipeline.video import Selection, VideoHeader, probe
from schemas import rle
from schemas.advice import outside_a_run
from schemas.check import conform, required
from schemas.errors import InputError, MediaError
from schemas.masks import PREDICTIONS, chosen_rows
from schemas.pair import PairKey, short_id
from schemas.printable import counted

OPENERS = 16  # videos opened at once; they mostly wait for storage
SHOWN = 20  # problems listed in one message

EXAMPLES = pa.schema(
    [
        pa.field("source", pa.int32()),  # number of the manifest
        pa.field("video_id", pa.string()),
        pa.field("video_uri", pa.string()),
        pa.field("expression_id", pa.string()),
        pa.field("expression", pa.string()),
        pa.field("height", pa.int32()),
        pa.field("width", pa.int32()),
        pa.field("frames", pa.list_(pa.int32())),  # of the row, as positions in the source sequence
        pa.field("annotated", pa.list_(pa.int32())),  # frames with a mask or a known absence
        pa.field("counts", pa.list_(pa.binary())),  # of `annotated`: union mask of all target objects; null: absent
    ],
    metadata=required("source", "video_uri", "expression", "frames", "annotated", "counts"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingSource:
    """One manifest with its annotations, or with a run of `rvos segment` as pseudo-labels."""

    manifest: str
    annotations: str
    min_score: float = 0.0  # of pseudo-labels; pairs with a lower pair_score are excluded
    allow_local: bool = False  # read local paths of a remote manifest


@dataclass(frozen=True, slots=True)
class MaskTrack:
    """Masks of one object or expression by frame; None: absent."""

    masks: dict[int, bytes | None]
    names: dict[int, str | None]
    size: tuple[int, int]


MaskTracks = dict[tuple[str, str], MaskTrack]  # by video_id, and object_id or expression_id


def gather_examples(
    sources: Sequence[TrainingSource], held_out: Collection[tuple[str, str]] = ()
) -> tuple[pa.Table, Counter[str]]:
    """Return EXAMPLES of all sources, and the number of excluded manifest rows by reason.

    Excludes rows without annotations or whose object is never visible, and those of `held_out`: (video_uri, expression)
    as in EXAMPLES. Rows without a target become examples with empty masks, in the frames in which any object of their
    video is annotated. Raises InputError that lists invalid rows, videos that cannot be opened, masks that are invalid,
    of another size or outside their video, and sources without a usable row.
    """
    rows, left_out = [], Counter[str]()
    for number, source in enumerate(sources):
        examples, excluded = _examples_of(source, held_out)
        rows += [{"source": number, **example} for example in examples]
        left_out += excluded
    return pa.Table.from_pylist(rows, schema=EXAMPLES), left_out


def _examples_of(source: TrainingSource, held_out: Collection[tuple[str, str]]) -> tuple[list[dict], Counter[str]]:
    """Return the examples of one source and its excluded rows, as `gather_examples`."""
    manifest = read_manifest(source.manifest, allow_local=source.allow_local).to_pylist()
    tracks, by_object = read_mask_tracks(source, {row["video_id"] for row in manifest})
    of_video: dict[str, dict[str, MaskTrack]] = defaultdict(dict)  # by object_id or expression_id
    for (video, name), track in tracks.items():
        of_video[video][name] = track
    headers = _open_videos(manifest, source.manifest)
    examples, left_out, problems = [], Counter[str](), []
    for row in manifest:
        try:
            example = _example(row, headers[row["video_uri"]], of_video[row["video_id"]], by_object)
        except (InputError, rle.RleError, MediaError) as error:
            problems.append(f"{PairKey.of(row)}: {outside_a_run(str(error))}")
            continue
        if not isinstance(example, str) and (example["video_uri"], example["expression"]) in held_out:
            example = "held out"
        if isinstance(example, str):
            left_out[example] += 1
        else:
            examples.append(example)
    _refuse(problems, source.annotations)
    if not any(any(example["counts"]) for example in examples):
        counts = left_out + Counter({"without a target": len(examples)})
        raise InputError(
            f"{source.manifest} has {len(manifest)} rows, and none of them has an object to learn from in "
            f"{source.annotations} ({', '.join(f'{count} {reason}' for reason, count in counts.items())}); check that "
            "both belong to the same data set"
        )
    return examples, left_out


def read_mask_tracks(source: TrainingSource, videos: Collection[str]) -> tuple[MaskTracks, bool]:
    """Read the masks of these videos. Returns True as well if they are by object, False if by expression.

    Reads a run as pseudo-labels: its masks with status ok and a pair_score of at least `min_score`, or none.
    """
    uri = storage.absolute(source.annotations)
    if not is_run(uri):
        truth = Annotations.open(uri)
        require_column_order(uri, truth.tables)
        return _group(truth.rows(videos), truth.key), truth.key == "object_id"
    folder, tables = storage.join(uri, "masks"), []
    names = storage.names(folder) if storage.is_folder(folder) else []
    columns = ["video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts"]
    for name in names:
        part = storage.join(folder, name)
        table = parquet.read_table(part, [*columns, "pair_score", "status", "chosen"])
        table = chosen_rows(conform(table, PREDICTIONS, part))
        sure = pc.fill_null(pc.greater_equal(table["pair_score"], source.min_score), True)  # imported without scores
        tables.append(table.filter(pc.and_(pc.equal(table["status"], "ok"), sure)).select(columns))
    if not any(table.num_rows for table in tables):
        raise InputError(
            f"{uri} has no masks with a pair_score of {source.min_score} or more; finish the run or lower --min-score"
        )
    return _group(pa.concat_tables(tables), "expression_id"), False


def _group(table: pa.Table, key: str) -> MaskTracks:
    tracks: MaskTracks = {}
    for row in table.to_pylist():
        index = row["frame_index"]
        track = tracks.setdefault((row["video_id"], row[key]), MaskTrack({}, {}, (row["height"], row["width"])))
        shown = f"video_id={short_id(row['video_id'])} {key}={short_id(row[key])}"
        if (row["height"], row["width"]) != track.size:
            raise InputError(f"{shown}: its masks differ in size; make them equal")
        counts = row["counts"]
        try:
            empty = counts is None or counts == rle.empty(*track.size)
        except rle.RleError as error:
            raise InputError(f"{shown}: frame {index}: {error}; correct the row") from None
        if index in track.masks:
            raise InputError(f"{shown}: frame {index} has several rows; keep one row for each object and frame")
        track.masks[index] = None if empty else counts
        track.names[index] = row.get("frame_name")
    return tracks


def _open_videos(manifest: list[dict], source: str) -> dict[str, VideoHeader]:
    """Read the video headers by URI. Raises InputError that lists all invalid rows and videos."""
    problems = [f"{PairKey.of(row)}: {problem}" for row in manifest for problem in row_problems(row)]
    _refuse(problems, source)
    uris = sorted({row["video_uri"] for row in manifest})
    headers: dict[str, VideoHeader] = {}
    for uri, found in zip(uris, bounded_map(_probe, uris, OPENERS), strict=True):
        if isinstance(found, MediaError):
            problems.append(outside_a_run(str(found)))
        else:
            headers[uri] = found
    _refuse(problems, source)
    return headers


def _probe(uri: str) -> VideoHeader | MediaError:
    try:
        return probe(uri)
    except MediaError as error:
        return error


def _example(row: dict, header: VideoHeader, tracks: dict[str, MaskTrack], by_object: bool) -> dict | str:
    """Return the row of EXAMPLES without `source`, or the reason for excluding it.

    tracks: masks of its video. Raises InputError, RleError or MediaError if the row or its masks are invalid.
    """
    objects = row.get("object_ids") if by_object else [row["expression_id"]]
    if objects is None:
        raise InputError("object_ids is null, but the annotations are by object; list the objects in object_ids")
    meant = [tracks[name] for name in objects or tracks if name in tracks]
    if not meant or len(meant) < len(set(objects)):
        return "not annotated" if not meant else "with an object that is not annotated"
    size = (header.height, header.width)
    if wrong := next((track.size for track in meant if track.size != size), None):
        raise InputError(f"masks are {wrong[0]}x{wrong[1]}, the video is {size[0]}x{size[1]}")
    frames, wanted = _frames(row, header, meant)
    masks = dict(_union(meant, header, wanted))
    if not masks:
        return "annotated on other frames only"
    if not objects:
        masks = dict.fromkeys(masks)
    elif not any(masks.values()):
        return "whose object is never shown"
    columns = ("video_id", "video_uri", "expression_id")
    return {name: row[name] for name in columns} | {
        "expression": " ".join(row["expression"].lower().split()),  # as published
        "height": size[0],
        "width": size[1],
        "frames": frames,
        "annotated": list(masks),
        "counts": list(masks.values()),
    }


def _frames(row: dict, header: VideoHeader, meant: list[MaskTrack]) -> tuple[list[int], frozenset[int]]:
    """Return all frames of the row, and the frames among them that may have a target.

    These are all, or `target_frames` if the row has them. A video of unknown length ends with its last annotation.
    """
    names, indices, targets = row.get("frames"), row.get("frame_indices"), row.get("target_frames")
    video = row["video_uri"], header.num_frames, header.names
    chosen = Selection(names and tuple(names), indices and tuple(indices), is_sequence=True).resolve(*video)
    last = max(max(track.masks) for track in meant)
    frames = list(chosen if chosen is not None else range(header.num_frames or last + 1))
    wanted = Selection(tuple(targets)).resolve(*video) if targets else frames
    return frames, frozenset(frames) & frozenset(wanted or ())


def _union(meant: list[MaskTrack], header: VideoHeader, wanted: frozenset[int]) -> Iterator[tuple[int, bytes | None]]:
    """Yield each wanted frame with the union mask of all objects, in order. Raises InputError and RleError."""
    masks: dict[int, list[bytes]] = defaultdict(list)
    for track in meant:
        for place, counts in _places(track, header):
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


def _places(track: MaskTrack, header: VideoHeader) -> Iterator[tuple[int, bytes | None]]:
    """Yield the position in the video of each mask, with the mask.

    It is that of the frame's name if both the video and the mask have names, where masks of other names are passed
    over; else the index of the mask. Raises InputError for indices outside the video, and for two masks of one frame.
    """
    position = {name: index for index, name in enumerate(header.names or ())}
    placed: dict[int, bytes | None] = {}
    outside: list[int] = []
    for index, counts in track.masks.items():
        name = track.names[index]
        by_name = name is not None and bool(position)
        place = position.get(name or "", -1) if by_name else index
        if place in placed:
            raise InputError(f"frame {name} has several masks; keep one for each object and frame")
        if place >= 0 and (header.num_frames is None or place < header.num_frames):
            placed[place] = counts
        elif not by_name:
            outside.append(index)
    if outside:
        frames = f"frame{'s' * (len(outside) != 1)} {', '.join(map(str, sorted(outside)[:SHOWN]))}"
        raise InputError(
            f"masks of {frames} lie outside the video, which has {header.num_frames} frames; correct frame_index, "
            "which counts from 0"
        )
    yield from placed.items()


def _refuse(problems: list[str], source: str) -> None:
    if problems:
        more = [f"... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise InputError("\n".join([f"{source}: {counted(len(problems), 'problem')}", *problems[:SHOWN], *more]))
