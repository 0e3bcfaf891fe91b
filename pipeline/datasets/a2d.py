"""A2D-Sentences: clips of YouTube with three to five annotated frames each, and sentences about actors in them.

    ROOT/Release/clips320H/VIDEO.mp4                        or CLIPS320
    ROOT/Release/videoset.csv                               no header: video, label, ..., frames, ..., 0 train 1 test
    ROOT/text_annotations/a2d_annotation.txt                CSV with header: video_id, instance_id, query
                          a2d_missed_videos.txt             videos that do not count
                          a2d_annotation_with_instances/VIDEO/NNNNN.h5      frame N, counted from 1

The masks are HDF5 (`instance`: ids; `reMask`: masks, transposed), which takes the package h5py. For the test split
`a2d_sentences_test_annotations_in_coco_format.json`, as published loaders write it, in ROOT does as well.

`target_frames` are the annotated frames in which the instance is; the others of the clip are context.
"""

import csv
import importlib
import io
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import NO_FRAMES, VIDEOS_AT_ONCE, DatasetVideo, Published, flat_id
from pipeline.datasets.common.target_frames import around_targets
from pipeline.datasets.common.tracks import Size, Tracks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import probe
from pipeline.video.types import MAX_PIXELS
from schemas import rle
from schemas.check import Problem, SchemaError
from schemas.errors import InputError, MediaError

SPLITS = ("train", "test")  # 0 and 1 in videoset.csv
COCO = "a2d_sentences_test_annotations_in_coco_format.json"
MAX_TEXT_BYTES = 2**26
MAX_MASK_BYTES = 2**26
MAX_INSTANCES = 255

PUBLISHED = (Published("all", 3782, 6655, "rows of videoset.csv and a2d_annotation.txt, by the loader of MTTR"),)

BROKEN = "clips that cannot be read; their pairs will fail"
NO_H5PY = "videos whose masks are HDF5, which takes h5py; install it (extra 'a2d'), or there is no truth to score by"
NO_MASKS = "videos without masks; their sentences have no target frames"
BEYOND = "videos with masks behind the end of their clip; pairs of these frames will fail"
NO_NUMBER = "sentences whose instance is no number; published loaders leave them out too"
NOWHERE = "sentences whose instance is in no annotated frame; they are left out"


@dataclass(frozen=True, slots=True)
class Place:
    """A mask in the COCO file."""

    frame: int  # counted from 1
    instance: str
    start: int
    end: int


@dataclass(slots=True)
class Source:
    """What belongs to all videos."""

    clips: str
    masks: str  # folder of HDF5 files
    coco: str
    split: str | None
    context: int | None
    places: dict[str, list[Place]] = field(default_factory=dict)
    meta: dict[str, list[str]] = field(default_factory=dict)  # rows of videoset.csv


def read(root: str, split: str | None = None, *, context: int | None = None) -> Iterator[DatasetVideo]:
    """All videos of one split, or of both, sorted by id. With `context`: see `around_targets`.

    Raises InputError that names file and row.
    """
    root = storage.absolute(root)
    if split not in (None, *SPLITS):
        raise InputError(f"A2D-Sentences has no split '{split}'; there are {', '.join(SPLITS)}")
    at = partial(storage.join, root)
    texts = _first([at("text_annotations"), at("Release"), root], "a2d_annotation.txt")
    sentences = _sentences(storage.join(texts, "a2d_annotation.txt"))
    with suppress(FileNotFoundError):
        missed = storage.read_bytes(storage.join(texts, "a2d_missed_videos.txt"), limit=MAX_TEXT_BYTES)
        for video in missed.decode("latin-1").split():
            sentences.pop(video, None)
    source = Source(
        clips=_first([at("Release", "clips320H"), at("Release", "CLIPS320"), at("clips320H")]),
        masks=storage.join(texts, "a2d_annotation_with_instances"),
        coco=at(COCO),
        split=split,
        context=context,
        meta=_videoset(_first([at("Release", "videoset.csv"), at("videoset.csv")]), split),
    )
    if split is not None:
        wanted = str(SPLITS.index(split))
        sentences = {video: of for video, of in sentences.items() if source.meta.get(video, [""])[-1] == wanted}
    if split != "train" and storage.exists(source.coco):
        source.places = _places(source.coco)
    items = sorted(sentences.items(), key=lambda item: flat_id(item[0]))
    return bounded_map(partial(_import_video, source), items, VIDEOS_AT_ONCE)


def _first(uris: list[str], file: str = "") -> str:
    """The first of these that is there, or that holds `file`; if none does, the first of all."""
    return next((uri for uri in uris if storage.exists(storage.join(uri, file) if file else uri)), uris[0])


def _sentences(uri: str) -> dict[str, list[tuple[str, str]]]:
    """For each video the instances and what is said of them."""
    sentences: dict[str, list[tuple[str, str]]] = {}
    problems = []
    for number, row in enumerate(_rows(uri)):
        if number == 0:
            if row != ["video_id", "instance_id", "query"]:
                raise InputError(f"{uri} does not begin with video_id,instance_id,query")
            continue
        try:
            video, instance, text = row
            flat_id(video)
        except (ValueError, InputError) as error:
            problems.append(Problem(uri, number - 1, f"{row} is no row of video_id,instance_id,query ({error})"))
            continue
        sentences.setdefault(video, []).append((instance, text))
    if problems:
        raise SchemaError(problems)
    return sentences


def _rows(uri: str) -> list[list[str]]:
    try:
        content = storage.read_bytes(uri, limit=MAX_TEXT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} is not there; A2D-Sentences needs it") from None
    try:
        return [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri} is no CSV in UTF-8: {error}") from None


def _videoset(uri: str, split: str | None) -> dict[str, list[str]]:
    """The rows of videoset.csv by video; without the file none, which will do if no split is asked for."""
    if split is None and not storage.exists(uri):
        return {}
    return {row[0]: row for row in _rows(uri) if len(row) >= 9}


def _places(uri: str) -> dict[str, list[Place]]:
    """Where the masks of each video stand in the COCO file."""
    places: dict[str, list[Place]] = {}
    for path, value, start, end in json_file.entries(uri, depth=2):
        if not path or path[0] != "annotations" or not isinstance(value, dict):
            continue
        match = re.fullmatch(r"v_(.+)_f_([0-9]{1,5})_i_([0-9]{1,7})", str(value.get("image_id")))
        if match is None:
            raise InputError(f"{uri} annotations row {path[1]}: image_id is not v_VIDEO_f_FRAME_i_INSTANCE")
        places.setdefault(match[1], []).append(Place(int(match[2]), str(int(match[3])), start, end))
    return places


def _import_video(source: Source, item: tuple[str, list[tuple[str, str]]]) -> DatasetVideo:
    name, sentences = item
    found = DatasetVideo(flat_id(name))
    uri = storage.join(source.clips, f"{name}.mp4")
    meta = source.meta.get(name, [])
    num_frames = int(meta[6]) or None if len(meta) > 6 and re.fullmatch(r"[0-9]{1,5}", meta[6]) else None
    try:
        header = probe(uri)
    except MediaError as error:
        found.warnings.append((NO_FRAMES, uri) if error.status == "missing" else (BROKEN, str(error)))
        size = None
    else:
        num_frames, size = header.num_frames or num_frames, (header.height, header.width)
    truth, readable = _masks(source, name, found)
    pairs = _pairs(found, uri, num_frames, source, meta, sentences, truth, readable)
    found.pairs = around_targets(pairs, source.context, int, found) if source.context else pairs
    found.check_texts()
    last = max((frame for frame, _ in truth), default=0)
    if num_frames and last > num_frames:
        found.warnings.append((BEYOND, f"{found.video_id} frame {last} of {num_frames}"))
    tracks = Tracks(found, [f"{index:05d}" for index in range(max(num_frames or 0, last))], frames=size)
    for (frame, instance), (counts, mask_size) in truth.items():
        if counts is not None:
            tracks.add(instance, f"{frame - 1:05d}", counts, mask_size)
    found.annotations = tracks.annotations()
    return found


def _pairs(
    found: DatasetVideo,
    uri: str,
    num_frames: int | None,
    source: Source,
    meta: list[str],
    sentences: list[tuple[str, str]],
    truth: dict[tuple[int, str], tuple[bytes | None, Size]],
    readable: bool,
) -> list[dict]:
    """One for each sentence whose instance is somewhere; without readable masks all annotated frames are targets."""
    pairs = []
    taken: dict[str, int] = {}
    for instance, text in sentences:
        if not re.fullmatch(r"[0-9]{1,7}", instance):
            found.warnings.append((NO_NUMBER, f"{found.video_id} instance {instance!r}"))
            continue
        instance = str(int(instance))
        frames = sorted({frame for frame, of in truth if of == instance or not readable})
        if readable and truth and not frames:
            found.warnings.append((NOWHERE, f"{found.video_id} instance {instance}"))
            continue
        taken[instance] = taken.get(instance, 0) + 1
        pairs.append(
            {
                "video_id": found.video_id,
                "video_uri": uri,
                "expression_id": instance if taken[instance] == 1 else f"{instance}_{taken[instance]}",
                "expression": text,
                "target_frames": [f"{frame - 1:05d}" for frame in frames] or None,
                "num_frames": num_frames,
                "object_ids": [instance],
                "split": source.split or (SPLITS[int(meta[-1])] if meta and meta[-1] in ("0", "1") else None),
                **({"label": meta[1]} if meta else {}),
            }
        )
    return pairs


def _masks(source: Source, name: str, found: DatasetVideo) -> tuple[dict, bool]:
    """(frame, instance) -> (mask, size), and whether they could be read; if not, the keys alone tell the frames."""
    if name in source.places:
        return _coco_masks(source, name, found), True
    folder = storage.join(source.masks, name)
    try:
        files = [file for file in storage.names(folder) if re.fullmatch(r"[0-9]{1,5}\.h5", file)]
    except (FileNotFoundError, NotADirectoryError):
        files = []
    if not files:
        found.warnings.append((NO_MASKS, found.video_id))
        return {}, True
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        found.warnings.append((NO_H5PY, found.video_id))
        return {(int(file[:-3]), ""): (None, (0, 0)) for file in files}, False
    masks = {}
    for file in files:
        uri = storage.join(folder, file)
        try:
            for instance, mask in _h5_masks(h5py, uri):
                masks[int(file[:-3]), instance] = (rle.encode(mask[None])[0], mask.shape)
        except Exception as error:  # storage, or damaged data, which makes h5py raise many kinds
            found.problems.append(f"{uri}: the masks cannot be read ({error}); replace it")
    return masks, True


def _coco_masks(source: Source, name: str, found: DatasetVideo) -> dict:
    masks = {}
    with storage.open_input(source.coco) as file:
        tracks = Tracks(found, [])  # for its messages only
        for place in source.places[name]:
            value = json_file.read_entry(file, place.start, place.end).get("segmentation")
            if (mask := tracks.checked(place.instance, f"{place.frame - 1:05d}", value)) is not None:
                masks[place.frame, place.instance] = mask
    return masks


def _h5_masks(h5py: Any, uri: str) -> Iterator[tuple[str, np.ndarray]]:
    """Instances of a frame, and their masks, bool [H, W]."""
    with h5py.File(io.BytesIO(storage.read_bytes(uri, limit=MAX_MASK_BYTES)), "r") as file:
        instances, masks = file["instance"], file["reMask"]
        count, shape = int(np.prod(instances.shape)), masks.shape
        if not 0 < count <= MAX_INSTANCES or len(shape) not in (2, 3) or np.prod(shape[-2:]) > MAX_PIXELS:
            raise ValueError(f"{count} instances with masks of shape {shape}")
        if (len(shape) == 3 and shape[0] != count) or (len(shape) == 2 and count > 1):
            raise ValueError(f"masks of shape {shape} are not those of {count} instances")
        for number, instance in enumerate(np.asarray(instances).reshape(-1).tolist()):
            mask = masks[number] if len(shape) == 3 else masks[()]
            yield str(int(instance)), np.asarray(mask).T != 0
