"""MeViS, first and second version: sentences about motion, of one object, several, or (v2) none.

    ROOT/SPLIT/meta_expressions.json      v2: meta_expressions_v2.json, or meta_expressions_v2_release.json
    ROOT/SPLIT/mask_dict.json             where the truth is public
    ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg

ROOT may be the folder of a split itself. An object's id is its `anno_id`, which no two videos share.
"""

from collections.abc import Iterator
from functools import partial

from pipeline.datasets.common import meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published
from pipeline.datasets.common.mask_dict import MaskDict
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas.errors import InputError

V1 = ("meta_expressions.json",)
V2 = ("meta_expressions_v2.json", "meta_expressions_v2_release.json")

PUBLISHED_V1 = (
    Published("train", 1662, 23051, "README of the MeViS repository"),
    Published("valid_u", 50, 793, "README of the MeViS repository"),
    Published("valid", 140, 2236, "README of the MeViS repository"),
)
PUBLISHED_V2 = (
    Published("train", 1662, 27502, "MeViS v2 project page"),
    Published("valid_u", 50, 907, "MeViS v2 project page"),
    Published("valid", 140, 2523, "MeViS v2 project page"),
)


def read(root: str, split: str | None = None, *, version: int = 1) -> Iterator[DatasetVideo]:
    """All videos of one split, sorted by id. Version 2 may have the file name of version 1, where its own is not there.

    Raises InputError if there is no such split or a file is not sound.
    """
    uri, split = _find(storage.absolute(root), split, V1 if version == 1 else (*V2, *V1))
    folder = storage.parent(uri)
    videos = meta_expressions.load(uri, "anno_id")
    masks = storage.join(folder, "mask_dict.json")
    known = any(_objects_known(video) for _, video in videos)
    truth = MaskDict(masks) if known and storage.exists(masks) else None
    frames = storage.join(folder, "JPEGImages")
    return bounded_map(partial(_import_video, frames, split, truth), videos, VIDEOS_AT_ONCE)


def _find(root: str, split: str | None, names: tuple[str, ...]) -> tuple[str, str | None]:
    """The file of sentences, and the name of its split."""

    def file_in(folder: str) -> str | None:
        uris = (storage.join(folder, name) for name in names)
        return next((uri for uri in uris if storage.exists(uri)), None)

    if split is None and (uri := file_in(root)):
        return uri, root.rpartition("/")[2] if root.endswith(("/train", "/valid_u", "/valid")) else None
    if not storage.is_folder(root):
        raise InputError(f"no folder {root}")
    splits = {name: uri for name in storage.names(root) if (uri := file_in(storage.join(root, name)))}
    if split is None and len(splits) == 1:
        split = next(iter(splits))
    if split in splits:
        return splits[split], split
    if splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    raise InputError(f"no data set in {root}: {' or '.join(names)} is neither there nor in a folder below")


def _objects_known(video: dict) -> bool:
    return any(expression.get("anno_id") is not None for expression in video["expressions"].values())


def _import_video(frames: str, split: str | None, truth: MaskDict | None, item: tuple[str, dict]) -> DatasetVideo:
    video = meta_expressions.listing(frames, split, "anno_id", item)
    if truth:
        truth.add_to(video)
    return video.found
