"""COCO for videos, the form of YouTube-VIS, OVIS and LV-VIS, with sentences or without.

    {"videos": [{"id", "height", "width", "file_names": ["VIDEO/NAME.jpg", ...]}],
     "annotations": [{"id", "video_id", "category_id", "segmentations": [RLE, polygons or null for each frame]}],
     "categories": [{"id", "name"}]}

Sentences are `expressions` (a list) or `expression` of an annotation, which mean it, or of a video entry, which mean
all its annotations; `exp_id` or `expression_id` numbers them. Where the file has none at all, each category that a
video shows is a sentence, and means all its objects of that category. Several entries of one folder are one video.

ROOT is the JSON file, or a folder with SPLIT.json, SPLIT/instances.json, annotations_SPLIT.json or the like, or with
exactly one JSON file. Images lie in JPEGImages, SPLIT/JPEGImages or SPLIT beside it or its folder, or there themselves.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pycocotools import mask as coco

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import (
    VIDEOS_AT_ONCE,
    DatasetVideo,
    attributes,
    flat_id,
    frame_names,
    id_problem,
)
from pipeline.datasets.common.meta_expressions import SOME_FRAMES
from pipeline.datasets.common.tracks import Tracks
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas import rle
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

NAMES = (
    *("{}.json", "{}/instances.json", "{}/annotations.json"),
    *("annotations_{}.json", "instances_{}.json", "annotations/{}.json"),
)
CROWDS = "annotations of a crowd; they are no objects and left out"
VIDEO_KEYS = ("id", "length", "height", "width", "file_names", "expressions", "expression", "exp_id", "expression_id")
ANNOTATION_KEYS = ("id", "video_id", "category_id", "iscrowd", "area", *VIDEO_KEYS)


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is held of an annotation: all but its masks, and where these stand in the file."""

    object_id: str
    category: str
    category_id: str
    has_masks: bool
    crowd: bool
    texts: list[tuple[str | None, str]]  # id and text of each sentence
    attributes: dict
    start: int
    end: int


@dataclass(slots=True)
class Video:
    """The entries of one folder of frames."""

    folder: str
    files: list[str]  # frame names
    height: int
    width: int
    entries: list[tuple[list[tuple[str | None, str]], dict, list[Annotation]]] = field(default_factory=list)


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """All videos, sorted by id. Raises InputError that lists what in the file is not of the form above."""
    uri = _find(storage.absolute(root), split)
    videos = _index(uri)
    told = any(texts or any(a.texts for a in of) for video in videos for texts, _, of in video.entries)
    frames = _frames_folder(uri, split, videos[0].folder)
    return bounded_map(partial(_import_video, uri, frames, split, told), videos, VIDEOS_AT_ONCE)


def _find(root: str, split: str | None) -> str:
    if root.endswith(".json"):
        return root
    if split is not None:
        storage.safe_name(split)
        tried = [storage.join(root, name.format(split)) for name in NAMES]
        if found := next((uri for uri in tried if storage.exists(uri)), None):
            return found
        raise InputError(f"no data set in {root}: none of {', '.join(tried)} is there")
    files = [name for name in storage.names(root) if name.endswith(".json")] if storage.is_folder(root) else []
    if len(files) == 1:
        return storage.join(root, files[0])
    have = f"holds {', '.join(files)}" if files else "holds no JSON file"
    raise InputError(f"{root} {have}; give the file itself, or choose with --split")


def _frames_folder(uri: str, split: str | None, folder: str) -> str:
    """Where the folders of frames lie; the first place looked at, if they are nowhere."""
    base = storage.parent(uri)
    part = split or re.sub(r"^(annotations|instances)_|\.json$", "", uri.rpartition("/")[2])
    inside = (("JPEGImages",), (part, "JPEGImages"), (part,), ())
    places = [storage.join(above, *names) for above in (base, storage.parent(base)) for names in inside]
    return next((place for place in places if storage.exists(storage.join(place, folder))), places[0])


def _index(uri: str) -> list[Video]:
    """All videos of the file in the order of their ids, their masks left in the file."""
    problems: list[Problem] = []
    categories: dict[Any, str] = {}
    entries: dict[Any, dict] = {}
    found: list[tuple[int, dict, int, int]] = []
    for path, value, start, end in json_file.entries(uri, depth=2):
        kind = path[0] if path else ""
        if kind not in ("videos", "annotations", "categories") or len(path) < 2:
            continue
        number = path[1]
        if isinstance(number, str):
            raise InputError(f"{uri}: '{kind}' is no list; needed is the form of YouTube-VIS")
        if not isinstance(value, dict) or not isinstance(value.get("id"), int | str):
            problems.append(Problem(f"{uri} {kind}", number, "has no 'id'"))
        elif any(not _is_text(value[key]) for key in ("expressions", "expression") if key in value):
            problems.append(Problem(f"{uri} {kind}", number, "its sentences are neither a text nor a list of texts"))
        elif kind == "categories":
            categories[value["id"]] = str(value.get("name", value["id"]))
        elif kind == "videos":
            problems += [Problem(f"{uri} videos", number, text) for text in _video_problems(value, entries)]
            entries[value["id"]] = value
        else:
            has_masks = isinstance(value.pop("segmentations", None), list)
            kept = {key: what for key, what in value.items() if key == "expressions" or not isinstance(what, list)}
            found.append((number, kept | {"has_masks": has_masks}, start, end))
    of_entry: dict[Any, list[Annotation]] = {}
    taken: set[str] = set()
    for number, value, start, end in found:
        name, video, category = str(value["id"]), value.get("video_id"), value.get("category_id")
        if not isinstance(video, int | str) or video not in entries:
            problems.append(Problem(f"{uri} annotations", number, f"there is no video {video!r}"))
        elif problem := id_problem(name):
            problems.append(Problem(f"{uri} annotations", number, problem))
        elif name in taken:
            problems.append(Problem(f"{uri} annotations", number, f"annotation {name} is there twice"))
        elif not isinstance(category, int | str | None) or (categories and category not in {None, *categories}):
            problems.append(Problem(f"{uri} annotations", number, f"there is no category {category!r}"))
        else:
            taken.add(name)
            annotation = _annotation(value, categories, start, end)
            of_entry.setdefault(value["video_id"], []).append(annotation)
    if problems:
        raise SchemaError(problems)
    if not entries:
        raise InputError(f"{uri} has no list 'videos'; needed is the form of YouTube-VIS")
    return _by_folder(uri, entries, of_entry)


def _video_problems(entry: dict, others: dict) -> Iterator[str]:
    files = entry.get("file_names")
    if entry["id"] in others:
        yield f"video {entry['id']!r} is there twice"
    if not all(type(entry.get(side)) is int and 0 < entry[side] <= rle.MAX_SIDE for side in ("height", "width")):
        yield f"video {entry['id']!r} has no height and width of 1 to {rle.MAX_SIDE} pixels"
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        yield f"video {entry['id']!r} has no list 'file_names'"
        return
    if problem := next((problem for file in files if (problem := id_problem(file, nested=True))), None):
        yield f"video {entry['id']!r}: {problem}"
    elif len({file.rpartition("/")[0] for file in files}) > 1 or "/" not in files[0]:
        yield f"video {entry['id']!r}: its frames are not all in one folder of their own"
    elif len(set(files)) < len(files):
        yield f"video {entry['id']!r} lists a frame twice"


def _annotation(value: dict, categories: dict, start: int, end: int) -> Annotation:
    category_id = value.get("category_id")
    return Annotation(
        object_id=str(value["id"]),
        category=categories.get(category_id, str(category_id)),
        category_id=str(category_id),
        has_masks=value["has_masks"],
        crowd=bool(value.get("iscrowd")),
        texts=_texts(value),
        attributes=attributes(value, (*ANNOTATION_KEYS, "has_masks")),
        start=start,
        end=end,
    )


def _is_text(value: object) -> bool:
    return value is None or all(isinstance(text, str) for text in (value if isinstance(value, list) else [value]))


def _texts(entry: dict) -> list[tuple[str | None, str]]:
    """The sentences of an entry; a number that the entry gives is theirs if there is one sentence only."""
    texts = entry.get("expressions", entry.get("expression"))
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    number = entry.get("exp_id", entry.get("expression_id"))
    return [(str(number) if number is not None and len(texts) == 1 else None, text) for text in texts]


def _by_folder(uri: str, entries: dict, of_entry: dict[Any, list[Annotation]]) -> list[Video]:
    videos: dict[str, Video] = {}
    for key, entry in entries.items():
        folder = entry["file_names"][0].rpartition("/")[0]
        files = [file.rpartition("/")[2].rpartition(".")[0] for file in entry["file_names"]]
        video = videos.setdefault(folder, Video(folder, files, entry["height"], entry["width"]))
        if video.files != files:
            raise InputError(f"{uri} videos {key!r}: another entry lists other frames of {folder}; make them equal")
        video.entries.append((_texts(entry), attributes(entry, VIDEO_KEYS), of_entry.get(key, [])))
    return sorted(videos.values(), key=lambda video: flat_id(video.folder))


def _import_video(uri: str, frames: str, split: str | None, told: bool, video: Video) -> DatasetVideo:
    found = DatasetVideo(flat_id(video.folder))
    folder = storage.join(frames, video.folder)
    names = frame_names(folder, found)
    if absent := [name for name in video.files if names and name not in set(names)]:
        found.warnings.append((SOME_FRAMES, f"{found.video_id} {absent[0]} and {len(absent) - 1} more"))
    sequence = names or video.files
    common = {
        "video_id": found.video_id,
        "video_uri": folder,
        "frames": None if set(video.files) == set(names) else video.files,
        "num_frames": len(sequence),
        "split": split,
    }
    found.pairs = _numbered([common | pair for pair in (_told(video) if told else _by_category(video))])
    found.check_texts()
    _add_masks(uri, video, found, sequence)
    for text in (id_problem(pair["expression_id"]) for pair in found.pairs):
        found.problems += [text] if text else []
    return found


def _told(video: Video) -> Iterator[dict]:
    """A pair for each sentence of an entry or annotation."""
    for texts, more, annotations in video.entries:
        objects = [annotation for annotation in annotations if not annotation.crowd]
        all_known = bool(objects) and all(annotation.has_masks for annotation in objects)
        for number, text in texts:
            ids = [annotation.object_id for annotation in objects] if all_known else None
            names = {"category": "+".join(sorted({annotation.category for annotation in objects}))} if objects else {}
            yield {"expression_id": number, "expression": text, "object_ids": ids, **more, **names}
        for annotation in objects:
            ids = [annotation.object_id] if annotation.has_masks else None
            own = {"object_ids": ids, **more, "category": annotation.category, **annotation.attributes}
            yield from ({"expression_id": number, "expression": text, **own} for number, text in annotation.texts)


def _by_category(video: Video) -> Iterator[dict]:
    """A pair for each category, with all its objects."""
    objects = [a for _, _, of in video.entries for a in of if not a.crowd and a.has_masks]
    for category_id in dict.fromkeys(annotation.category_id for annotation in objects):
        of = [annotation for annotation in objects if annotation.category_id == category_id]
        ids = [annotation.object_id for annotation in of]
        name = of[0].category
        yield {"expression_id": category_id, "expression": name, "object_ids": ids, "category": name}


def _numbered(pairs: list[dict]) -> list[dict]:
    """Ids for the sentences without one, and for those whose id another one has."""
    taken: set[str] = set()
    number = 0
    for pair in sorted(pairs, key=lambda pair: pair["expression_id"] is None):
        while pair["expression_id"] is None or pair["expression_id"] in taken:
            pair["expression_id"] = str(number)
            number += 1
        taken.add(pair["expression_id"])
    return pairs


def _add_masks(uri: str, video: Video, found: DatasetVideo, sequence: list[str]) -> None:
    tracks = Tracks(found, sequence, (video.height, video.width))
    annotations = sorted((a for _, _, of in video.entries for a in of if a.has_masks), key=lambda a: a.start)
    found.warnings += [(CROWDS, f"{found.video_id} annotation {a.object_id}") for a in annotations if a.crowd]
    if not annotations:
        return
    with storage.open_input(uri) as file:
        for annotation in annotations:
            if annotation.crowd:
                continue
            masks = json_file.read_entry(file, annotation.start, annotation.end)["segmentations"]
            if len(masks) != len(video.files):
                text = f"annotation {annotation.object_id}: {len(masks)} masks for {len(video.files)} frames"
                found.problems.append(text)
                continue
            for name, mask in zip(video.files, masks, strict=True):
                if isinstance(mask, list) and mask:
                    _add_polygons(tracks, annotation.object_id, name, mask, video)
                else:
                    tracks.add_coco(annotation.object_id, name, mask)
    found.check_objects(tracks.seen)
    found.annotations = tracks.annotations()


def _add_polygons(tracks: Tracks, object_id: str, name: str, polygons: list, video: Video) -> None:
    """Polygons, drawn as COCO draws them. Corners far outside are refused: they would cost memory without end."""
    limit = 2 * max(video.height, video.width)
    for polygon in polygons:
        numbers = isinstance(polygon, list) and all(isinstance(x, int | float) and abs(x) <= limit for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            text = f"object {object_id} frame {name}: no polygon of at least three corners near the frame"
            tracks.found.problems.append(text)
            return
    drawn: Any = coco.merge(coco.frPyObjects(polygons, video.height, video.width))
    tracks.add(object_id, name, drawn["counts"], (video.height, video.width))
