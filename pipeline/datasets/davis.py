"""DAVIS 2016 and 2017: masks of one object or several, without sentences.

    ROOT/JPEGImages/480p/VIDEO/NAME.jpg
    ROOT/Annotations/480p/VIDEO/NAME.png              or Annotations_unsupervised, where there is no other
    ROOT/ImageSets/2017/val.txt, 2016/val.txt         a name in each line
    ROOT/ImageSets/480p/val.txt                       the first release: an image and its mask in each line
    ROOT/davis_semantics.json                         {VIDEO: {OBJECT: CATEGORY}}, if there

ROOT may be the folder above `DAVIS` as well. A split is named as its file: `2017/val`; `val` alone is that of 2017
where there is one. In the splits of 2016 all that is marked is object 1. With `davis_semantics.json` each object
becomes a pair whose sentence is its category; without, there are annotations only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, Published, frame_names, id_problem
from pipeline.datasets.common.meta_expressions import Listing
from pipeline.datasets.common.tracks import Tracks
from pipeline.datasets.ref_youtube_vos import add_masks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.label_maps import read_binary_mask
from pipeline.video.folder import SUFFIXES
from schemas import rle
from schemas.errors import InputError, MediaError

MAX_LIST_BYTES = 2**24
ONE_OBJECT = ("2016", "480p", "1080p")  # folders of splits in which everything marked is one object

PUBLISHED = (
    Published("2017/train", 60, None, "DAVIS 2017"),
    Published("2017/val", 30, None, "DAVIS 2017"),
    Published("2016, all", 50, None, "Perazzi et al. 2016"),
)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie, and which videos are meant."""

    frames: str
    annotations: str | None
    videos: list[str]
    split: str | None
    one_object: bool
    categories: dict[str, dict[str, str]]


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos of one split, sorted by name. Raises InputError if there is no such split or folder."""
    layout = find_layout(storage.absolute(root), split)
    return bounded_map(partial(_import_video, layout), layout.videos, VIDEOS_AT_ONCE)


def find_layout(root: str, split: str | None, masks: tuple[str, ...] = ("Annotations",)) -> Layout:
    """The layout of the folder `root`; `masks` are folders of masks in the order of preference."""
    inside = storage.join(root, "DAVIS")
    base = inside if storage.exists(storage.join(inside, "JPEGImages")) else root
    images = storage.join(base, "JPEGImages")
    if not storage.is_folder(images):
        raise InputError(f"no DAVIS in {root}: neither {images} nor {inside}/JPEGImages is there")
    resolutions = storage.names(images)
    split, videos = _videos(base, split)
    wanted = (split or "").partition("/")[0]
    size = wanted if wanted in resolutions else "480p" if "480p" in resolutions else "".join(resolutions[:1])
    folders = (storage.join(base, name, size) for name in (*masks, "Annotations", "Annotations_unsupervised"))
    semantics = storage.join(base, "davis_semantics.json")
    frames = storage.join(images, size)
    if any(name.lower().endswith(SUFFIXES) for name in storage.names(frames)):
        raise InputError(f"{frames} holds images; needed is a folder above it: JPEGImages/480p/VIDEO/NAME.jpg")
    return Layout(
        frames=frames,
        annotations=next((uri for uri in folders if storage.exists(uri)), None),
        videos=sorted(set(videos)) if videos is not None else storage.names(frames),
        split=split,
        one_object=wanted in ONE_OBJECT,
        categories=_categories(semantics) if storage.exists(semantics) else {},
    )


def _videos(base: str, split: str | None) -> tuple[str | None, list[str] | None]:
    """The full name of the split, and what it lists; None for everything, where nothing is divided."""
    sets = storage.join(base, "ImageSets")
    folders = storage.names(sets) if storage.is_folder(sets) else []
    splits = [
        f"{folder}/{name[: -len('.txt')]}"
        for folder in folders
        for name in storage.names(storage.join(sets, folder))
        if name.endswith(".txt")
    ]
    if split is not None and "/" not in split:
        matching = [name for name in splits if name.endswith(f"/{split}")]
        split = f"2017/{split}" if f"2017/{split}" in splits else matching[0] if len(matching) == 1 else split
    if split is None and len(splits) == 1:
        split = splits[0]
    if split in splits:
        lines = storage.read_bytes(storage.join(sets, f"{split}.txt"), limit=MAX_LIST_BYTES).decode("latin-1")
        return split, [_video_of(line.split()[0], split) for line in lines.splitlines() if line.strip()]
    if splits:
        raise InputError(f"{base} has the splits {', '.join(splits)}; choose one with --split")
    if split is not None:
        raise InputError(f"{base} is not divided into splits ({sets} is not there); leave --split out")
    return None, None


def _video_of(entry: str, split: str) -> str:
    """The video of a line: its name, or the folder of an image."""
    name = entry.rstrip("/").split("/")[-2] if entry.count("/") > 1 else entry
    if problem := id_problem(name):
        raise InputError(f"ImageSets/{split}.txt: {problem}")
    return name


def _categories(uri: str) -> dict[str, dict[str, str]]:
    content = json_file.load(uri)
    if not all(isinstance(objects, dict) for objects in content.values()):
        raise InputError(f"{uri} is not of the form {{VIDEO: {{OBJECT: CATEGORY}}}}; correct or remove it")
    return {video: {str(key): str(name) for key, name in objects.items()} for video, objects in content.items()}


def _import_video(layout: Layout, video_id: str) -> DatasetVideo:
    video = open_video(layout, video_id)
    categories = layout.categories.get(video_id, {})
    if layout.one_object and categories:
        categories = {"1": " and ".join(sorted(set(categories.values())))}
    video.found.pairs = [
        {
            "video_id": video_id,
            "video_uri": video.uri,
            "expression_id": object_id,
            "expression": category,
            "num_frames": len(video.sequence),
            "object_ids": [object_id],
            "split": layout.split,
            "category": category,
        }
        for object_id, category in categories.items()
    ]
    add_annotations(layout, video)
    return video.found


def open_video(layout: Layout, video_id: str) -> Listing:
    """A video without pairs and masks."""
    found = DatasetVideo(video_id)
    uri = storage.join(layout.frames, video_id)
    names = frame_names(uri, found)
    return Listing(found, uri, names, names or _mask_names(layout, video_id), bool(names))


def add_annotations(layout: Layout, video: Listing) -> None:
    """Fill in the masks, after the pairs."""
    if layout.annotations is None:
        return
    uri = storage.join(layout.annotations, video.found.video_id)
    if layout.one_object:
        _add_one_object(uri, _mask_names(layout, video.found.video_id), video)
    else:
        add_masks(uri, video)


def _mask_names(layout: Layout, video_id: str) -> list[str]:
    try:
        names = storage.names(storage.join(layout.annotations or "", video_id)) if layout.annotations else []
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [name[: -len(".png")] for name in names if name.lower().endswith(".png")]


def _add_one_object(uri: str, names: list[str], video: Listing) -> None:
    tracks = Tracks(video.found, video.sequence, frames=video.frame_size())
    for name in names:
        try:
            mask = read_binary_mask(storage.join(uri, f"{name}.png"))
        except MediaError as error:
            video.found.problems.append(str(error))
            continue
        tracks.add("1", name, rle.encode(mask[None])[0] if mask.any() else None, mask.shape)
    video.found.annotations = tracks.annotations()
