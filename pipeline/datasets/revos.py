"""ReVOS: sentences that refer to objects, or take reasoning to find them.

    ROOT/meta_expressions_train_.json, ROOT/meta_expressions_valid_.json
    ROOT/mask_dict.json                   all objects of both splits
    ROOT/mask_dict_foreground.json        {VIDEO: {"masks_rle": [RLE for each frame]}}: what any object covers
    ROOT/JPEGImages/VIDEO/NAME.jpg

`type_id` (0 referring, 1 reasoning, 2 without a target) is an attribute; `rvos evaluate --protocol revos` averages over
the first two. The foreground becomes `foreground.parquet`, which the measure R needs.
"""

from collections.abc import Iterator
from functools import partial

from pipeline.datasets.common import json_file, meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published
from pipeline.datasets.common.mask_dict import MaskDict
from pipeline.datasets.common.meta_expressions import Listing
from pipeline.datasets.common.tracks import Tracks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.errors import InputError

PUBLISHED = (Published("train and valid", 1042, 35074, "VISA, abstract of the paper"),)
PREFIX, SUFFIX = "meta_expressions_", "_.json"

NO_FOREGROUND = "videos that mask_dict_foreground.json lacks; R of protocol revos needs them"


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos of one split, sorted by id. Raises InputError if there is no such split or a file is not sound."""
    root = storage.absolute(root)
    names = storage.names(root) if storage.is_folder(root) else []
    splits = [name[len(PREFIX) : -len(SUFFIX)] for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]
    if not splits:
        raise InputError(f"no data set in {root}: {PREFIX}SPLIT{SUFFIX} is not there")
    split = splits[0] if split is None and len(splits) == 1 else split
    if split not in splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    videos = meta_expressions.load(storage.join(root, f"{PREFIX}{split}{SUFFIX}"), "anno_id")
    masks, foreground = (storage.join(root, name) for name in ("mask_dict.json", "mask_dict_foreground.json"))
    truth = MaskDict(masks) if storage.exists(masks) else None
    places = _places(foreground) if truth and storage.exists(foreground) else {}
    frames = storage.join(root, "JPEGImages")
    return bounded_map(partial(_import_video, frames, split, truth, (foreground, places)), videos, VIDEOS_AT_ONCE)


def _places(uri: str) -> dict[str, tuple[int, int]]:
    """Where the foreground of each video stands in the file."""
    entries = json_file.entries(uri, depth=2)
    return {str(entry.path[0]): (entry.start, entry.end) for entry in entries if entry.path[1:] == ("masks_rle",)}


def _import_video(
    frames: str,
    split: str,
    truth: MaskDict | None,
    foreground: tuple[str, dict[str, tuple[int, int]]],
    item: tuple[str, dict],
) -> DatasetVideo:
    video = meta_expressions.listing(frames, split, "anno_id", item)
    if truth:
        truth.add_to(video)
    uri, places = foreground
    if item[0] in places:
        with storage.open_input(uri) as file:
            _add_foreground(video, json_file.read_entry(file, *places[item[0]]))
    elif truth:
        video.found.warnings.append((NO_FOREGROUND, video.found.video_id))
    return video.found


def _add_foreground(video: Listing, masks: object) -> None:
    found = video.found
    if not isinstance(masks, list) or len(masks) != len(video.listed):
        have = len(masks) if isinstance(masks, list) else "no list of"
        found.problems.append(f"mask_dict_foreground.json: {have} masks for {len(video.listed)} frames")
        return
    tracks = Tracks(found, video.sequence)
    for name, mask in zip(video.listed, masks, strict=True):
        tracks.add_coco(None, name, mask)
    found.foreground = tracks.regions()
