"""Ref-YouTube-VOS, and everything in its layout (such as Ref-DAVIS17 after the usual conversion).

    ROOT/meta_expressions.json                      or  ROOT/meta_expressions/SPLIT/meta_expressions.json
    ROOT/JPEGImages/VIDEO/NAME.jpg                      ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg
    ROOT/Annotations/VIDEO/NAME.png  (if public)        ROOT/SPLIT/Annotations/VIDEO/NAME.png
    ROOT/meta.json                   (optional)         ROOT/SPLIT/meta.json

The pixel values of the masks are the `obj_id` of the sentences. `meta.json` is the original file of YouTube-VOS: the
`category` of its objects becomes an attribute. The published validation file lists the test videos too; if the test
file exists, they are left out of `valid`, as in the published inference.
"""

from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pipeline.datasets.common import json_file, meta_expressions
from pipeline.datasets.common.dataset_video import NO_MASKS, VIDEOS_AT_ONCE, DatasetVideo
from pipeline.datasets.common.meta_expressions import ListedVideo
from pipeline.datasets.common.object_masks import UNUSUAL_MASKS
from pipeline.datasets.common.split_folder import NoSplitsError, choose_split
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.png_trees import TreeFrame, read_frame
from pipeline.masks.tree_masks import TreeMasks
from pipeline.masks.value_groups import MOST_SMALL_IDS
from schemas.errors import ImplausibleError, InputError, MediaError
from schemas.masks import VOID

FILE = "meta_expressions.json"


class MetaVideo(NamedTuple):
    """A video in `meta.json`: the category of each object, and the names of the frames that show one."""

    categories: Mapping[str, str] = MappingProxyType({})
    frames: frozenset[str] = frozenset()


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read the data set in the folder `root`, sorted by id.

    Raises InputError that lists all problems if the folder has another layout or its JSON is not of the form above.
    """
    expressions, base, split, test_file = _find(storage.absolute(root), split)
    frames, annotations, meta = (storage.join(base, name) for name in ("JPEGImages", "Annotations", "meta.json"))
    entries = meta_expressions.load(expressions)
    if test_file:
        test_videos = {name for name, _ in meta_expressions.load(test_file)}
        entries = [item for item in entries if item[0] not in test_videos]
    meta_of = _read_meta(meta) if storage.exists(meta) else {}

    def read_video(item: tuple[str, dict]) -> DatasetVideo:
        listed = meta_expressions.list_video(frames, split, "obj_id", *item)
        known = meta_of.get(item[0], MetaVideo())
        for pair in listed.video.pairs:
            objects = pair["object_ids"] or ()
            if names := {known.categories[object_id] for object_id in objects if object_id in known.categories}:
                pair["category"] = "+".join(sorted(names))
        add_masks(storage.join(annotations, item[0]), listed, known.frames)
        return listed.video

    return bounded_map(read_video, entries, VIDEOS_AT_ONCE)


def has_layout(root: str) -> bool:
    """True if the folder `root` looks like this layout."""
    return any(storage.exists(storage.join(root, name)) for name in (FILE, "meta_expressions"))


def _find(root: str, split: str | None) -> tuple[str, str, str | None, str | None]:
    """The file of sentences, the folder of everything else, the split, and the file of test videos to leave out."""
    flat = storage.join(root, FILE)
    if split is None and storage.exists(flat):
        return flat, root, None, None
    published = storage.join(root, "meta_expressions")
    folders = storage.names(published) if storage.is_folder(published) else []
    splits = {name: uri for name in folders if storage.exists(uri := storage.join(published, name, FILE))}
    if not splits and split is not None and storage.exists(flat):
        raise NoSplitsError(root, flat)
    split = choose_split(root, split, splits, f"{flat} or {published}/SPLIT/{FILE}")
    return splits[split], storage.join(root, split), split, splits.get("test") if split == "valid" else None


def add_masks(uri: str, listed: ListedVideo, promised: Collection[str] = ()) -> None:
    """Fill in annotations and void from the folder `uri` of palette masks, if it exists.

    promised: names of the frames that another file says to have masks.
    """
    video, files = listed.video, listed.video.mask_files(uri)
    if not files:
        if listed.has_frames and storage.exists(storage.parent(uri)):
            video.warnings.append((NO_MASKS, video.video_id))
        return
    index_of = {name: index for index, name in enumerate(listed.sequence)}
    frames: list[TreeFrame] = []
    size = listed.frame_size()
    for name, file in files.items():
        try:
            frame = read_frame(file, index_of.get(name, -1), binary=False)
        except MediaError as error:
            video.problems.append(str(error))
            continue
        size = size or (frame.height, frame.width)
        if name not in index_of:
            video.problems.append(f"{file}: the video has no frame {name}")
        elif (frame.height, frame.width) != size:
            sizes = f"the mask is {frame.width}x{frame.height}, the frames are {size[1]}x{size[0]}"
            video.problems.append(f"{file}: {sizes}")
        else:
            frames.append(frame)
    objects = video.object_ids()
    key = (video.video_id,)
    try:
        found = TreeMasks.of(uri, True, {key: sorted(frames)})
    except InputError as error:
        video.problems.append(str(error))
        return
    found = found.cut_files_anew(key, files)
    if found.meaning.ids is None or min(found.meaning.ids, default=0) > MOST_SMALL_IDS:  # not the ids of other objects
        try:
            found = found.with_objects({video.video_id: frozenset(objects)})
        except ImplausibleError as error:
            video.problems.append(str(error))
    if not found.meaning.usual:
        video.warnings.append((f"{UNUSUAL_MASKS} {found.meaning.text}", video.video_id))
    video.note_gaps([name for name in listed.names if name in index_of], files, promised)
    video.check_objects(set(found.keys_by_video().get(video.video_id, ())))
    annotations, void = found.annotations(objects)
    video.annotations, video.void = annotations, VOID.empty_table() if void is None else void


def _read_meta(uri: str) -> dict[str, MetaVideo]:
    """Return the videos of `meta.json` by id. Raises InputError if it has another form."""
    found = {}
    try:
        for video_id, video in json_file.load(uri)["videos"].items():
            categories = {object_id: str(entry["category"]) for object_id, entry in video["objects"].items()}
            frames = {str(name) for entry in video["objects"].values() for name in entry.get("frames") or ()}
            found[video_id] = MetaVideo(categories, frozenset(frames))
    except (KeyError, TypeError, AttributeError) as error:
        form = "{'videos': {VIDEO: {'objects': {ID: {'category': NAME}}}}}"
        raise InputError(f"{uri} must have the form {form} ({error!r}); correct or remove it") from None
    return found
