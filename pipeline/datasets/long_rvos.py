"""Long-RVOS: long videos; sentences about looks (static), doings (dynamic) or both (hybrid), their attribute `type`.

    ROOT/SPLIT/meta_expressions.json
    ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg
    ROOT/SPLIT/Annotations/VIDEO/OBJECT/NAME.png     anything but 0 is the object; no file: it is absent there

ROOT may be the folder of a split itself.
"""

from collections.abc import Iterator
from functools import partial

from pipeline.datasets.common import meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published
from pipeline.datasets.common.meta_expressions import Listing
from pipeline.datasets.common.tracks import Tracks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.label_maps import read_binary_mask
from schemas import rle
from schemas.errors import InputError, MediaError

FILE = "meta_expressions.json"
PUBLISHED = (
    Published("train", 1855, None, "Long-RVOS, its benchmark page"),
    Published("valid", 112, None, "Long-RVOS, its benchmark page"),
    Published("test", 226, None, "Long-RVOS, its benchmark page"),
    Published("all", 2193, 24689, "Long-RVOS, its benchmark page"),
)


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos of one split, sorted by id. Raises InputError if there is no such split or its JSON is not sound."""
    folder, split = _find(storage.absolute(root), split)
    videos = meta_expressions.load(storage.join(folder, FILE))
    masks = storage.join(folder, "Annotations")
    masks = masks if storage.exists(masks) else None
    return bounded_map(partial(_import_video, storage.join(folder, "JPEGImages"), masks, split), videos, VIDEOS_AT_ONCE)


def _find(root: str, split: str | None) -> tuple[str, str | None]:
    if split is None and storage.exists(storage.join(root, FILE)):
        return root, root.rpartition("/")[2] if root.endswith(("/train", "/valid", "/test")) else None
    names = storage.names(root) if storage.is_folder(root) else []
    splits = [name for name in names if storage.exists(storage.join(root, name, FILE))]
    split = splits[0] if split is None and len(splits) == 1 else split
    if split in splits:
        return storage.join(root, str(split)), split
    if splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    raise InputError(f"no data set in {root}: {FILE} is neither there nor in a folder below")


def _import_video(frames: str, masks: str | None, split: str | None, item: tuple[str, dict]) -> DatasetVideo:
    video = meta_expressions.listing(frames, split, "obj_id", item)
    if masks is not None:
        _add_masks(storage.join(masks, item[0]), video)
    return video.found


def _add_masks(uri: str, video: Listing) -> None:
    """Each object that a pair means, in each listed frame."""
    found = video.found
    objects = sorted({object_id for pair in found.pairs for object_id in pair["object_ids"] or ()})
    tracks = Tracks(found, video.sequence, frames=video.frame_size() if objects else None)
    for object_id in objects:
        folder = storage.join(uri, object_id)
        try:
            there = set(storage.names(folder))
        except (FileNotFoundError, NotADirectoryError):
            there = set()
        for name in video.listed:
            try:
                mask = read_binary_mask(storage.join(folder, f"{name}.png")) if f"{name}.png" in there else None
            except MediaError as error:
                found.problems.append(str(error))
                continue
            if mask is not None and mask.any():
                tracks.add(object_id, name, rle.encode(mask[None])[0], mask.shape)
            else:
                tracks.add(object_id, name, None)
    found.check_objects(tracks.seen)
    found.annotations = tracks.annotations()
