"""Ref-YouTube-VOS, and everything in its layout (such as Ref-DAVIS17 after the usual conversion).

    ROOT/meta_expressions.json                      or  ROOT/meta_expressions/SPLIT/meta_expressions.json
    ROOT/JPEGImages/VIDEO/NAME.jpg                      ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg
    ROOT/Annotations/VIDEO/NAME.png  (if known)         ROOT/SPLIT/Annotations/VIDEO/NAME.png
    ROOT/meta.json                   (if there)         ROOT/SPLIT/meta.json

The values of the mask's pixels are the `obj_id` of the sentences. `meta.json` is the original file of YouTube-VOS: the
`category` of its objects becomes an attribute. The published validation file lists the test videos too; where the test
file is there, they are left out of `valid`, as the published inference does.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.datasets.common import json_file, meta_expressions
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published
from pipeline.datasets.common.meta_expressions import Listing
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.label_maps import MaskRows, read_mask
from schemas.errors import InputError, MediaError

PUBLISHED = (
    Published("train", 3471, 12913, "Seo et al. 2020, full-video expressions"),
    Published("valid", 202, 834, "the validation list of the authors' file, less its test videos"),
    Published("valid and test", 507, 2096, "Seo et al. 2020, full-video expressions"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie."""

    expressions: str
    frames: str
    annotations: str
    meta: str
    split: str | None
    others: str | None = None  # the file of the test videos that `expressions` lists too


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos of the data set in the folder `root`, sorted by id.

    Raises InputError, listing everything found, if there is no such data set or its JSON is not of the form above.
    """
    layout = find_layout(storage.absolute(root), split)
    videos = meta_expressions.load(layout.expressions)
    if layout.others:
        others = {name for name, _ in meta_expressions.load(layout.others)}
        videos = [item for item in videos if item[0] not in others]
    categories = _categories(layout.meta) if storage.exists(layout.meta) else {}
    return bounded_map(partial(_import_video, layout, categories), videos, VIDEOS_AT_ONCE)


def is_there(root: str) -> bool:
    """Whether the folder `root` has this layout."""
    return any(storage.exists(storage.join(root, name)) for name in ("meta_expressions.json", "meta_expressions"))


def find_layout(root: str, split: str | None) -> Layout:
    """The layout of the folder `root`; raises InputError naming what was looked for."""
    flat = storage.join(root, "meta_expressions.json")
    if split is None and storage.exists(flat):
        return _layout(flat, root, None)
    published = storage.join(root, "meta_expressions")
    folders = storage.names(published) if storage.is_folder(published) else []
    splits = [name for name in folders if storage.exists(storage.join(published, name, "meta_expressions.json"))]
    if split is None and len(splits) == 1:
        split = splits[0]
    if split in splits:
        expressions = storage.join(published, storage.safe_name(split or ""), "meta_expressions.json")
        test = storage.join(published, "test", "meta_expressions.json")
        others = test if split == "valid" and "test" in splits else None
        return _layout(expressions, storage.join(root, split or ""), split, others)
    if splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    if split is not None and storage.exists(flat):
        raise InputError(f"{root} is not divided into splits ({flat}); leave --split out")
    raise InputError(f"no data set in {root}: neither {flat} nor {published}/SPLIT/meta_expressions.json is there")


def _layout(expressions: str, base: str, split: str | None, others: str | None = None) -> Layout:
    frames, annotations, meta = (storage.join(base, name) for name in ("JPEGImages", "Annotations", "meta.json"))
    return Layout(expressions, frames, annotations, meta, split, others)


def _import_video(layout: Layout, categories: dict, item: tuple[str, dict]) -> DatasetVideo:
    video = meta_expressions.listing(layout.frames, layout.split, "obj_id", item)
    for pair in video.found.pairs:
        pair.update(_category(categories.get(item[0], {}), pair["object_ids"]))
    add_masks(storage.join(layout.annotations, item[0]), video)
    return video.found


def add_masks(uri: str, video: Listing) -> None:
    """Fill in annotations and void from the folder `uri` of palette masks, if it is there."""
    found = video.found
    try:
        masks = [name for name in storage.names(uri) if name.lower().endswith(".png")]
    except (FileNotFoundError, NotADirectoryError):
        return
    index_of = {name: index for index, name in enumerate(video.sequence)}
    rows = MaskRows(found.video_id, {object_id for pair in found.pairs for object_id in pair["object_ids"] or ()})
    size = video.frame_size() if masks else None
    for file in masks:
        name = file[: -len(".png")]
        try:
            mask = read_mask(storage.join(uri, file))
        except MediaError as error:
            found.problems.append(str(error))
            continue
        size = size or mask.shape
        if name not in index_of:
            found.problems.append(f"{uri}/{file}: there is no frame {name} in the video")
        elif mask.shape != size:
            height, width = mask.shape
            found.problems.append(f"{uri}/{file}: the mask is {width}x{height}, the frames are {size[1]}x{size[0]}")
        else:
            rows.add(index_of[name], name, mask)
    if masks:
        found.check_objects(rows.found())
    found.annotations, found.void = rows.annotations(), rows.void()


def _categories(uri: str) -> dict[str, dict[str, str]]:
    """What `meta.json` says: video id -> object id -> category."""
    try:
        return {
            video_id: {object_id: str(entry["category"]) for object_id, entry in video["objects"].items()}
            for video_id, video in json_file.load(uri)["videos"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        form = "{'videos': {VIDEO: {'objects': {ID: {'category': NAME}}}}}"
        raise InputError(f"{uri} is not of the form {form} ({error!r}); correct or remove it") from None


def _category(categories: dict[str, str], object_ids: list[str] | None) -> dict:
    """The category of the objects meant, several joined by '+'; nothing where it is not known."""
    names = {categories[object_id] for object_id in object_ids or () if object_id in categories}
    return {"category": "+".join(sorted(names))} if names else {}
