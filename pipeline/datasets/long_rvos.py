"""Long-RVOS: long videos; sentences about looks (static), actions (dynamic) or both (hybrid), their attribute `type`.

    ROOT/SPLIT/meta_expressions.json
    ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg
    ROOT/SPLIT/Annotations/VIDEO/OBJECT/NAME.png     any value but 0 is the object; without a file it is absent

ROOT may be the folder of a split itself.
"""

from collections.abc import Iterator

from pipeline.datasets.common import meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo
from pipeline.datasets.common.meta_expressions import ListedVideo
from pipeline.datasets.common.object_masks import ObjectMasks
from pipeline.datasets.common.split_folder import find_file
from pipeline.io import storage
from pipeline.io.parallel import bounded_map


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read one split, sorted by id. Raises InputError if the split does not exist or its JSON is invalid."""
    uri, split = find_file(storage.absolute(root), split, ("meta_expressions.json",), ("train", "valid", "test"))
    frames, masks = (storage.join(storage.parent(uri), name) for name in ("JPEGImages", "Annotations"))
    has_masks = storage.exists(masks)

    def read_video(item: tuple[str, dict]) -> DatasetVideo:
        listed = meta_expressions.list_video(frames, split, "obj_id", *item)
        if has_masks:
            _add_masks(storage.join(masks, item[0]), listed)
        return listed.video

    return bounded_map(read_video, meta_expressions.load(uri), VIDEOS_AT_ONCE)


def _add_masks(uri: str, listed: ListedVideo) -> None:
    video = listed.video
    objects = sorted(video.object_ids())
    masks = ObjectMasks(video, listed.sequence, frame_size=listed.frame_size() if objects else None)
    for object_id in objects:
        folder = storage.join(uri, object_id)
        files = video.mask_files(folder)
        for name in listed.names:
            if name not in files:
                masks.add(object_id, name, None)
        masks.add_pngs(object_id, {name: files[name] for name in listed.names if name in files})
    video.check_objects(masks.seen)
    video.annotations = masks.annotations()
