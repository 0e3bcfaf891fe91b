"""ReVOS: sentences that refer to objects, or take reasoning to find them.

    ROOT/meta_expressions_train_.json, ROOT/meta_expressions_valid_.json
    ROOT/mask_dict.json                   all objects of both splits
    ROOT/mask_dict_foreground.json        {VIDEO: {"masks_rle": [RLE for each frame]}}: the union of all objects
    ROOT/JPEGImages/VIDEO/NAME.jpg

`type_id` (0 referring, 1 reasoning, 2 without a target) is an attribute; `rvos evaluate --protocol revos` averages over
the first two. The foreground becomes `foreground.parquet`, which the measure R needs.
"""

from collections.abc import Iterator

from pipeline.datasets.common import json_file, meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo
from pipeline.datasets.common.mask_dict import MaskDict
from pipeline.datasets.common.object_masks import ObjectMasks
from pipeline.datasets.common.split_folder import choose_split
from pipeline.io import storage
from pipeline.io.parallel import bounded_map

PREFIX, SUFFIX = "meta_expressions_", "_.json"

NO_FOREGROUND = "videos missing from mask_dict_foreground.json; protocol revos cannot compute R for them"


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read one split, sorted by id. Raises InputError if the split does not exist or a file is invalid."""
    root = storage.absolute(root)
    names = storage.names(root) if storage.is_folder(root) else []
    splits = [name[len(PREFIX) : -len(SUFFIX)] for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]
    split = choose_split(root, split, splits, f"{PREFIX}SPLIT{SUFFIX}")
    frames, masks, foreground_uri = (
        storage.join(root, name) for name in ("JPEGImages", "mask_dict.json", "mask_dict_foreground.json")
    )
    entries = meta_expressions.load(storage.join(root, f"{PREFIX}{split}{SUFFIX}"), "anno_id")
    mask_dict = MaskDict(masks) if storage.exists(masks) else None
    if mask_dict:
        mask_dict.require_common(entries)
    foreground = json_file.SpooledEntries()
    if mask_dict and storage.exists(foreground_uri):
        for path, regions in json_file.entries(foreground_uri, depth=2):
            if path[1:] == ("masks_rle",):
                foreground.add(str(path[0]), regions)

    def read_video(item: tuple[str, dict]) -> DatasetVideo:
        listed = meta_expressions.list_video(frames, split, "anno_id", *item)
        video = listed.video
        if mask_dict:
            mask_dict.add_to(listed)
        if item[0] in foreground:
            union = ObjectMasks(video, listed.sequence)
            union.add_list(None, listed.names, foreground[item[0]], "mask_dict_foreground.json")
            video.foreground = union.regions()
        elif mask_dict:
            video.warnings.append((NO_FOREGROUND, video.video_id))
        return video

    return bounded_map(read_video, entries, VIDEOS_AT_ONCE)
