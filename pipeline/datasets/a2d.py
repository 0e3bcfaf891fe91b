"""A2D-Sentences: YouTube clips with three to five annotated frames each, and sentences about actors in them.

    ROOT/Release/clips320H/VIDEO.mp4                        or CLIPS320
    ROOT/Release/videoset.csv                               no header: video, label, ..., frames, ..., 0 train 1 test
    ROOT/text_annotations/a2d_annotation.txt                CSV with header: video_id, instance_id, query
                          a2d_missed_videos.txt             videos to skip
                          a2d_annotation_with_instances/VIDEO/NNNNN.h5      frame N, counted from 1

The masks are HDF5 (`instance`: ids; `reMask`: masks, transposed); reading them needs the package h5py. For the test
split `a2d_sentences_test_annotations_in_coco_format.json` in ROOT, as published loaders write it, works as well.

`target_frames` are the annotated frames that show the instance; the other frames of the clip are context.
"""

import codecs
import importlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from pipeline.datasets.common import hdf5_masks, json_file
from pipeline.datasets.common.csv_file import MAX_TEXT_BYTES, group_by_video, read_rows
from pipeline.datasets.common.dataset_video import NO_FRAMES, VIDEOS_AT_ONCE, DatasetVideo, flat_id
from pipeline.datasets.common.object_masks import ObjectMasks, Size, from_coco
from pipeline.datasets.common.target_frames import split_by_target
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import probe
from schemas import rle
from schemas.advice import outside_a_run
from schemas.errors import InputError, MediaError

SPLITS = ("train", "test")  # 0 and 1 in videoset.csv
COLUMNS = ("video_id", "instance_id", "query")
COCO = "a2d_sentences_test_annotations_in_coco_format.json"
MAX_MASK_BYTES = 2**26

BROKEN = "clips that cannot be read; their pairs will fail"
NO_H5PY = "videos whose masks are HDF5; install h5py (extra 'a2d') to read them, or they cannot be scored"
NO_MASKS = "videos without masks; their sentences have no target frames"
BEYOND = "videos with masks after the end of their clip; pairs of these frames will fail"
NO_NUMBER = "sentences whose instance is not a number; skipped, as by published loaders"
NOWHERE = "sentences whose instance is in no annotated frame; they are skipped"

InstanceMasks = dict[tuple[int, str], tuple[bytes | None, Size]]  # by frame, counted from 1, and instance


@dataclass(slots=True)
class A2DFiles:
    """Folders and tables that all videos of an import share."""

    clips: str
    masks: str  # folder of HDF5 files
    split: str | None
    videoset: dict[str, list[str]]  # rows of videoset.csv by video
    coco_keys: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # by video: frame and instance
    coco_masks: json_file.SpooledEntries = field(default_factory=json_file.SpooledEntries)


def read(root: str, split: str | None = None, *, context: int | None = None) -> Iterator[DatasetVideo]:
    """Read one split, or both, sorted by id; for `context` see `split_by_target`.

    Raises InputError with file and row.
    """
    root = storage.absolute(root)
    if split not in (None, *SPLITS):
        raise InputError(f"unknown split {split!r} of A2D-Sentences; choose from {', '.join(SPLITS)}")
    at = partial(storage.join, root)
    texts = _first([at("text_annotations"), at("Release"), root], "a2d_annotation.txt")
    annotation = storage.join(texts, "a2d_annotation.txt")
    header, *instances = _read_required(annotation) or [list(COLUMNS)]
    if tuple(header) != COLUMNS:
        raise InputError(f"{annotation} must begin with the header {','.join(COLUMNS)}")
    sentences = group_by_video(annotation, instances, COLUMNS)  # rows [instance, sentence]
    with suppress(FileNotFoundError):
        missed = storage.read_bytes(storage.join(texts, "a2d_missed_videos.txt"), limit=MAX_TEXT_BYTES)
        for video in missed.removeprefix(codecs.BOM_UTF8).decode("latin-1").split():
            sentences.pop(video, None)
    videoset = _first([at("Release", "videoset.csv"), at("videoset.csv")])
    rows = _read_required(videoset) if split is not None or storage.exists(videoset) else []
    files = A2DFiles(
        clips=_first([at("Release", "clips320H"), at("Release", "CLIPS320"), at("clips320H")]),
        masks=storage.join(texts, "a2d_annotation_with_instances"),
        split=split,
        videoset={row[0]: row for row in rows if len(row) >= 9},
    )
    if split is not None:
        wanted = str(SPLITS.index(split))
        sentences = {video: of for video, of in sentences.items() if files.videoset.get(video, [""])[-1] == wanted}
    if split != "train" and storage.exists(at(COCO)):
        _read_coco(at(COCO), files)
    items = sorted(sentences.items(), key=lambda item: flat_id(item[0]))
    return bounded_map(lambda item: _read_video(files, *item, context), items, VIDEOS_AT_ONCE)


def _first(uris: list[str], file: str = "") -> str:
    """Return the first URI that exists, or that contains `file`; the first of all if none does."""
    return next((uri for uri in uris if storage.exists(storage.join(uri, file) if file else uri)), uris[0])


def _read_required(uri: str) -> list[list[str]]:
    try:
        return read_rows(uri)
    except FileNotFoundError:
        raise InputError(f"{uri} does not exist; A2D-Sentences needs it") from None


def _read_coco(uri: str, files: A2DFiles) -> None:
    """Copy the masks of the COCO file to a temporary one, which can be read video by video."""
    for path, value in json_file.entries(uri, depth=2):
        if not path or path[0] != "annotations" or not isinstance(value, dict):
            continue
        match = re.fullmatch(r"v_(.+)_f_([0-9]{1,5})_i_([0-9]{1,7})", str(value.get("image_id")))
        if match is None:
            raise InputError(f"{uri} annotations row {path[1]}: image_id must be v_VIDEO_f_FRAME_i_INSTANCE")
        video, frame, instance = match[1], int(match[2]), str(int(match[3]))
        files.coco_keys.setdefault(video, []).append((frame, instance))
        files.coco_masks.add(f"{video}/{frame}/{instance}", [value.get("segmentation"), value.get("bbox")])


def _read_video(files: A2DFiles, name: str, sentences: list[list[str]], context: int | None) -> DatasetVideo:
    video = DatasetVideo(flat_id(name))
    uri = storage.join(files.clips, f"{name}.mp4")
    row = files.videoset.get(name, [])
    num_frames = int(row[6]) or None if len(row) > 6 and re.fullmatch(r"[0-9]{1,5}", row[6]) else None
    size = None
    try:
        header = probe(uri)
    except MediaError as error:
        video.warnings.append((NO_FRAMES, uri) if error.status == "missing" else (BROKEN, outside_a_run(str(error))))
    else:
        num_frames, size = header.num_frames or num_frames, (header.height, header.width)
    masks, readable = _read_masks(files, name, video)
    in_split = files.split or (SPLITS[int(row[-1])] if row and row[-1] in ("0", "1") else None)
    common = {"video_id": video.video_id, "video_uri": uri, "num_frames": num_frames, "split": in_split}
    _add_pairs(video, common | ({"label": row[1]} if row else {}), sentences, masks, readable)
    if context:
        split_by_target(video, context, int)
    video.check_texts()
    last = max((frame for frame, _ in masks), default=0)
    if num_frames and last > num_frames:
        video.warnings.append((BEYOND, f"{video.video_id} frame {last} of {num_frames}"))
    sequence = [f"{index:05d}" for index in range(max(num_frames or 0, last))]
    object_masks = ObjectMasks(video, sequence, frame_size=size)
    for (frame, instance), (counts, mask_size) in masks.items():
        if counts is not None:
            object_masks.add(instance, f"{frame - 1:05d}", counts, mask_size)
    video.annotations = object_masks.annotations()
    return video


def _add_pairs(
    video: DatasetVideo, common: dict, sentences: list[list[str]], masks: InstanceMasks, readable: bool
) -> None:
    """Add a pair for each sentence whose instance has a mask; without h5py all annotated frames are targets."""
    taken: dict[str, int] = {}
    for instance, text in sentences:
        if not re.fullmatch(r"[0-9]{1,7}", instance):
            video.warnings.append((NO_NUMBER, f"{video.video_id} instance {instance!r}"))
            continue
        instance = str(int(instance))
        frames = sorted({frame for frame, of in masks if of == instance or not readable})
        if readable and masks and not frames:
            video.warnings.append((NOWHERE, f"{video.video_id} instance {instance}"))
            continue
        taken[instance] = taken.get(instance, 0) + 1
        pair = {
            "expression_id": instance if taken[instance] == 1 else f"{instance}_{taken[instance]}",
            "expression": text,
            "target_frames": [f"{frame - 1:05d}" for frame in frames] or None,
            "object_ids": [instance],
        }
        video.pairs.append(common | pair)


def _read_masks(files: A2DFiles, name: str, video: DatasetVideo) -> tuple[InstanceMasks, bool]:
    """Read the masks of a video. Returns False as well if h5py is missing: the keys then name frames only."""
    masks: InstanceMasks = {}
    for frame, instance in files.coco_keys.get(name, []):
        try:
            mask, box = files.coco_masks[f"{name}/{frame}/{instance}"]
            counts, size = masks[frame, instance] = from_coco(mask)
            video.run_order.add(counts, *size, f"{name} object {instance} frame {frame - 1:05d}", box)
        except rle.RleError as error:
            video.problems.append(f"object {instance} frame {frame - 1:05d}: {error}")
    if name in files.coco_keys:
        return masks, True
    folder = storage.join(files.masks, name)
    try:
        names = [file for file in storage.names(folder) if re.fullmatch(r"[0-9]{1,5}\.h5", file)]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    if not names:
        video.warnings.append((NO_MASKS, video.video_id))
        return {}, True
    try:
        h5py = importlib.import_module("h5py")
    except ImportError:
        video.warnings.append((NO_H5PY, video.video_id))
        return {(int(file[:-3]), ""): (None, (0, 0)) for file in names}, False
    for file in names:
        uri = storage.join(folder, file)
        try:
            for instance, mask in hdf5_masks.read(h5py, storage.read_bytes(uri, limit=MAX_MASK_BYTES)):
                masks[int(file[:-3]), instance] = (rle.encode(mask[None])[0], (mask.shape[0], mask.shape[1]))
        except Exception as error:  # storage, or damaged data, for which h5py raises many kinds
            video.problems.append(f"{uri}: the masks cannot be read ({error}); replace the file")
    return masks, True
