"""MeViS, first and second version: sentences about motion, of one object, several, or (v2) none.

    ROOT/SPLIT/meta_expressions.json      v2: meta_expressions_v2.json, or meta_expressions_v2_release.json
    ROOT/SPLIT/mask_dict.json             where the truth is public
    ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg

ROOT may be the folder of a split itself. The id of an object is its `anno_id`, unique in the whole data set.
"""

from collections.abc import Iterator

from pipeline.datasets.common import meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo
from pipeline.datasets.common.mask_dict import MaskDict
from pipeline.datasets.common.split_folder import find_file
from pipeline.io import storage
from pipeline.io.parallel import bounded_map

V1 = ("meta_expressions.json",)
V2 = ("meta_expressions_v2.json", "meta_expressions_v2_release.json")
SPLITS = ("train", "valid_u", "valid")


def read(root: str, split: str | None = None, *, names: tuple[str, ...] = V1) -> Iterator[DatasetVideo]:
    """Read one split, sorted by id; `names` are those of its file of sentences, the preferred one first.

    Raises InputError if the split does not exist or a file is invalid.
    """
    uri, split = find_file(storage.absolute(root), split, names, SPLITS)
    frames, masks = (storage.join(storage.parent(uri), name) for name in ("JPEGImages", "mask_dict.json"))
    entries = meta_expressions.load(uri, "anno_id")
    objects_known = any(e.get("anno_id") is not None for _, entry in entries for e in entry["expressions"].values())
    mask_dict = MaskDict(masks) if objects_known and storage.exists(masks) else None
    if mask_dict:
        mask_dict.require_common(entries)

    def read_video(item: tuple[str, dict]) -> DatasetVideo:
        listed = meta_expressions.list_video(frames, split, "anno_id", *item)
        if mask_dict:
            mask_dict.add_to(listed)
        return listed.video

    return bounded_map(read_video, entries, VIDEOS_AT_ONCE)


def read_v2(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read version 2 as `read` does version 1, whose file is used if the folder has none of version 2."""
    return read(root, split, names=(*V2, *V1))
