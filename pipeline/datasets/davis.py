"""DAVIS 2016 and 2017: masks of one object or several, without sentences.

    ROOT/JPEGImages/480p/VIDEO/NAME.jpg
    ROOT/Annotations/480p/VIDEO/NAME.png              or Annotations_unsupervised, if that is the only one
    ROOT/ImageSets/2017/val.txt, 2016/val.txt         a name in each line
    ROOT/ImageSets/480p/val.txt                       the first release: an image and its mask in each line
    ROOT/davis_semantics.json                         {VIDEO: {OBJECT: CATEGORY}}, optional

ROOT may be the folder above `DAVIS` as well. A split is named like its file, `2017/val`; `val` alone is that of 2017 if
it exists. In the splits of 2016 all marked pixels are object 1. With `davis_semantics.json` each object becomes a pair
whose sentence is its category; without, there are annotations only.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, id_problem
from pipeline.datasets.common.meta_expressions import ListedVideo
from pipeline.datasets.common.object_masks import ObjectMasks
from pipeline.datasets.common.split_folder import NoSplitsError, choose_split
from pipeline.datasets.ref_youtube_vos import add_masks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video.picture import SUFFIXES
from schemas.errors import InputError

MAX_LIST_BYTES = 2**24
ONE_OBJECT = ("2016", "480p", "1080p")  # folders of splits in which all marked pixels are one object


@dataclass(frozen=True, slots=True)
class DavisSplit:
    """Videos and folders of one split."""

    frames: str
    annotations: str | None
    videos: list[str]
    name: str | None
    one_object: bool
    categories: dict[str, dict[str, str]]

    def list_video(self, video_id: str) -> ListedVideo:
        """List the frames of a video; it has no pairs and masks yet."""
        video = DatasetVideo(video_id)
        uri = storage.join(self.frames, video_id)
        names = video.list_frames(uri)
        return ListedVideo(video, uri, names, names or list(self._mask_files(video)), bool(names))

    def add_annotations(self, listed: ListedVideo) -> None:
        """Add the masks. Needs the pairs."""
        video = listed.video
        if self.annotations is None:
            return
        uri = storage.join(self.annotations, video.video_id)
        if not self.one_object:
            add_masks(uri, listed)
            return
        masks, files = ObjectMasks(video, listed.sequence, frame_size=listed.frame_size()), self._mask_files(video)
        masks.add_pngs("1", files)
        video.note_gaps(listed.names, files)
        video.annotations = masks.annotations()

    def _mask_files(self, video: DatasetVideo) -> dict[str, str]:
        """Return the URI of each mask of a video, by frame name."""
        return video.mask_files(storage.join(self.annotations, video.video_id)) if self.annotations else {}


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read one split, sorted by name. Raises InputError if the split or a folder does not exist."""
    davis = find_split(storage.absolute(root), split)

    def read_video(video_id: str) -> DatasetVideo:
        listed = davis.list_video(video_id)
        categories = davis.categories.get(video_id, {})
        if davis.one_object and categories:
            categories = {"1": " and ".join(sorted(set(categories.values())))}
        listed.video.pairs = [
            {
                "video_id": video_id,
                "video_uri": listed.uri,
                "expression_id": object_id,
                "expression": category,
                "num_frames": len(listed.sequence),
                "object_ids": [object_id],
                "split": davis.name,
                "category": category,
            }
            for object_id, category in categories.items()
        ]
        davis.add_annotations(listed)
        return listed.video

    return bounded_map(read_video, davis.videos, VIDEOS_AT_ONCE)


def find_split(root: str, split: str | None, masks: tuple[str, ...] = ("Annotations",)) -> DavisSplit:
    """Find a split in the folder `root`; `masks` are folders of masks in the order of preference."""
    inside = storage.join(root, "DAVIS")
    base = inside if storage.exists(storage.join(inside, "JPEGImages")) else root
    images = storage.join(base, "JPEGImages")
    if not storage.is_folder(images):
        raise InputError(f"no DAVIS in {root}: {images} or {inside}/JPEGImages not found")
    split, videos = _list_videos(base, split)
    year = (split or "").partition("/")[0]
    resolutions = storage.names(images)
    resolution = next((name for name in (year, "480p") if name in resolutions), "".join(resolutions[:1]))
    frames = storage.join(images, resolution)
    if any(name.lower().endswith(SUFFIXES) for name in storage.names(frames)):
        raise InputError(f"{frames} holds images; give the folder above JPEGImages/480p/VIDEO/NAME.jpg")
    folders = (storage.join(base, name, resolution) for name in (*masks, "Annotations", "Annotations_unsupervised"))
    semantics = storage.join(base, "davis_semantics.json")
    content = json_file.load(semantics) if storage.exists(semantics) else {}
    if not all(isinstance(objects, dict) for objects in content.values()):
        raise InputError(f"{semantics} must have the form {{VIDEO: {{OBJECT: CATEGORY}}}}; correct or remove it")
    return DavisSplit(
        frames=frames,
        annotations=next((uri for uri in folders if storage.exists(uri)), None),
        videos=sorted(set(videos)) if videos is not None else storage.names(frames),
        name=split,
        one_object=year in ONE_OBJECT,
        categories={video: {key: str(name) for key, name in objects.items()} for video, objects in content.items()},
    )


def _list_videos(base: str, split: str | None) -> tuple[str | None, list[str] | None]:
    """Return full name and videos of the split; None if the data set has no splits."""
    sets = storage.join(base, "ImageSets")
    folders = storage.names(sets) if storage.is_folder(sets) else []
    splits = [
        f"{folder}/{name[: -len('.txt')]}"
        for folder in folders
        for name in storage.names(storage.join(sets, folder))
        if name.endswith(".txt")
    ]
    if not splits:
        if split is not None:
            raise NoSplitsError(base, f"{sets} not found")
        return None, None
    if split is not None and "/" not in split:
        matching = [name for name in splits if name.endswith(f"/{split}")]
        split = f"2017/{split}" if f"2017/{split}" in splits else matching[0] if len(matching) == 1 else split
    split = choose_split(base, split, splits, sets)
    content = storage.read_bytes(storage.join(sets, f"{split}.txt"), limit=MAX_LIST_BYTES)
    lines = content.removeprefix(codecs.BOM_UTF8).decode("latin-1").splitlines()
    entries = [line.split()[0] for line in lines if line.strip()]
    videos = [entry.rstrip("/").split("/")[-2] if entry.count("/") > 1 else entry for entry in entries]
    if problem := next((problem for name in videos if (problem := id_problem(name))), None):
        raise InputError(f"ImageSets/{split}.txt: {problem}")
    return split, videos
