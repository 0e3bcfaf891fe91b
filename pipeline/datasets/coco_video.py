"""COCO for videos, the form of YouTube-VIS, OVIS and LV-VIS, with or without sentences.

    {"videos": [{"id", "height", "width", "file_names": ["VIDEO/NAME.jpg", ...]}],
     "annotations": [{"id", "video_id", "category_id", "segmentations": [RLE, polygons or null for each frame]}],
     "categories": [{"id", "name"}]}

Sentences are `expressions` (a list) or `expression`: of an annotation, which they mean, or of a video entry, all of
whose annotations they mean. `exp_id` or `expression_id` numbers them. If the file has no sentence, each category in a
video becomes one, and means all objects of that category. Several entries with one folder are one video.

ROOT is the JSON file, or a folder with SPLIT.json, SPLIT/instances.json, annotations_SPLIT.json or the like, or with
exactly one JSON file. Images are in JPEGImages, SPLIT/JPEGImages or SPLIT next to the file or its folder, or directly
there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pycocotools import mask as coco

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import VIDEOS_AT_ONCE, DatasetVideo, flat_id, id_problem, plain_attributes
from pipeline.datasets.common.object_masks import ObjectMasks
from pipeline.datasets.common.plain_ids import plain_id
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from schemas import rle
from schemas.check import Problem, SchemaError
from schemas.errors import InputError

FILE_NAMES = (
    *("{}.json", "{}/instances.json", "{}/annotations.json"),
    *("annotations_{}.json", "instances_{}.json", "annotations/{}.json"),
)
SIDES = ("height", "width")
ID_KEYS = ("id", "video_id", "category_id")
MAX_OUTLINE = 2**21  # pixels of all outlines of a mask, of which COCO makes 160 bytes each
CROWDS = "crowd annotations"
FLAGS = {None: False, "": False, "0": False, "false": False, "1": True, "true": True}  # texts of `iscrowd`
VIDEO_KEYS = ("id", "length", "height", "width", "file_names", "expressions", "expression", "exp_id", "expression_id")
ANNOTATION_KEYS = ("id", "video_id", "category_id", "iscrowd", "area", *VIDEO_KEYS)

Texts = list[tuple[str | None, str]]  # id, if the file gives one, and text of each sentence


@dataclass(frozen=True, slots=True)
class CocoAnnotation:
    """An annotation without its masks."""

    position: int  # in the file
    object_id: str
    category: str
    category_id: str
    has_masks: bool
    crowd: bool
    texts: Texts
    attributes: dict


@dataclass(slots=True)
class CocoEntry:
    """A video entry with its annotations."""

    texts: Texts
    attributes: dict
    annotations: list[CocoAnnotation]


@dataclass(slots=True)
class CocoVideo:
    """All entries with one folder of frames."""

    folder: str
    names: list[str]  # of the frames
    height: int
    width: int
    entries: list[CocoEntry] = field(default_factory=list)

    def annotations(self) -> list[CocoAnnotation]:
        return [annotation for entry in self.entries for annotation in entry.annotations]


def read(root: str, split: str | None = None) -> Iterator[DatasetVideo]:
    """Read all videos, sorted by id. Raises InputError that lists all deviations from the form above."""
    uri = _find_file(storage.absolute(root), split)
    videos, masks = _read_file(uri)
    has_texts = any(e.texts or any(a.texts for a in e.annotations) for video in videos for e in video.entries)
    base = storage.parent(uri)
    part = split or re.sub(r"^(annotations|instances)_|\.json$", "", uri.rpartition("/")[2])
    inside = (("JPEGImages",), (part, "JPEGImages"), (part,), ())
    folders = [storage.join(above, *names) for above in (base, storage.parent(base)) for names in inside]
    frames = next((uri for uri in folders if storage.exists(storage.join(uri, videos[0].folder))), folders[0])

    def read_video(coco_video: CocoVideo) -> DatasetVideo:
        video = DatasetVideo(flat_id(coco_video.folder))
        folder = storage.join(frames, coco_video.folder)
        images = video.list_frames(folder)
        video.check_listed(coco_video.names, images)
        sequence = images or coco_video.names
        common = {
            "video_id": video.video_id,
            "video_uri": folder,
            "frames": None if set(coco_video.names) == set(images) else coco_video.names,
            "num_frames": len(sequence),
            "split": split,
        }
        pairs = _sentence_pairs(coco_video) if has_texts else _category_pairs(coco_video)
        video.pairs = [common | pair for pair in pairs]
        _number(video.pairs)
        video.check_texts()
        _add_masks(coco_video, masks, video, sequence)
        video.problems += filter(None, (id_problem(pair["expression_id"]) for pair in video.pairs))
        return video

    return bounded_map(read_video, videos, VIDEOS_AT_ONCE)


def _find_file(root: str, split: str | None) -> str:
    if root.endswith(".json"):
        return root
    if split is not None:
        storage.safe_name(split)
        tried = [storage.join(root, name.format(split)) for name in FILE_NAMES]
        if found := next((uri for uri in tried if storage.exists(uri)), None):
            return found
        raise InputError(f"no data set in {root}: none of {', '.join(tried)} exists")
    files = [name for name in storage.names(root) if name.endswith(".json")] if storage.is_folder(root) else []
    if len(files) == 1:
        return storage.join(root, files[0])
    have = f"holds {', '.join(files)}" if files else "holds no JSON file"
    raise InputError(f"{root} {have}; give the file itself, or choose with --split")


def _read_file(uri: str) -> tuple[list[CocoVideo], json_file.SpooledEntries]:
    """Read all videos, sorted by id, and the masks of each annotation by its position in the file."""
    masks = json_file.SpooledEntries()
    problems: list[Problem] = []
    categories: dict[Any, str] = {}
    entries: dict[Any, dict] = {}
    annotations: list[tuple[int, dict]] = []
    for path, value in json_file.entries(uri, depth=2):
        if len(path) < 2 or path[0] not in ("videos", "annotations", "categories"):
            continue
        kind, position = path
        if isinstance(position, str):
            raise InputError(f"{uri}: {kind!r} must be a list, as in YouTube-VIS")
        place = f"[{position}]"
        if isinstance(value, dict):
            value |= {key: plain_id(value[key]) for key in ID_KEYS if key in value}
            value |= {key: rle.whole(value[key]) for key in SIDES if isinstance(value.get(key), float)}
        if not isinstance(value, dict) or not isinstance(value.get("id"), str):
            problems.append(Problem(f"{uri} {kind}", place, "'id' is missing"))
        elif _flag(value.get("iscrowd")) not in FLAGS:
            problems.append(Problem(f"{uri} {kind}", place, f"'iscrowd' must be 0 or 1, got {value['iscrowd']!r}"))
        elif not all(_is_text(value.get(key)) for key in ("expressions", "expression")):
            problems.append(Problem(f"{uri} {kind}", place, "its sentences must be a text or a list of texts"))
        elif kind == "categories":
            categories[value["id"]] = str(value.get("name", value["id"]))
        elif kind == "videos":
            problems += [Problem(f"{uri} videos", place, text) for text in _video_problems(value, entries)]
            entries[value["id"]] = value
        else:
            segmentations = value.pop("segmentations", None)
            masks.add(str(position), [segmentations, value.pop("bboxes", None)])
            kept = {key: what for key, what in value.items() if key == "expressions" or not isinstance(what, list)}
            annotations.append((position, kept | {"has_masks": isinstance(segmentations, list)}))
    found = _annotations_by_video(uri, annotations, entries, categories, problems)
    if not entries and not any(problem.source == f"{uri} videos" for problem in problems):
        raise InputError(f"{uri} has no list 'videos', as YouTube-VIS has")
    if problems:
        raise SchemaError(problems)
    return _group_by_folder(uri, entries, found), masks


def _annotations_by_video(
    uri: str, annotations: list[tuple[int, dict]], entries: dict, categories: dict, problems: list[Problem]
) -> dict[Any, list[CocoAnnotation]]:
    """Return the annotations of each video entry; `annotations` has their positions. Adds errors to `problems`."""
    found: dict[Any, list[CocoAnnotation]] = {}
    taken: set[str] = set()
    for position, value in annotations:
        name, video, category = value["id"], value.get("video_id"), value.get("category_id")
        if not isinstance(video, str) or video not in entries:
            problem = f"unknown video {video!r}"
        elif name in taken:
            problem = f"duplicate annotation {name}"
        elif not isinstance(category, str | None) or (categories and category not in {None, *categories}):
            problem = f"unknown category {category!r}"
        elif not (problem := id_problem(name)):
            taken.add(name)
            annotation = CocoAnnotation(
                position=position,
                object_id=name,
                category=categories.get(category, str(category)),
                category_id=str(category),
                has_masks=value["has_masks"],
                crowd=FLAGS[_flag(value.get("iscrowd"))],
                texts=_texts(value),
                attributes=plain_attributes(value, (*ANNOTATION_KEYS, "has_masks")),
            )
            found.setdefault(video, []).append(annotation)
            continue
        problems.append(Problem(f"{uri} annotations", f"[{position}]", problem))
    return found


def _video_problems(entry: dict, others: dict) -> Iterator[str]:
    files = entry.get("file_names")
    name = f"video {entry['id']!r}"
    if entry["id"] in others:
        yield f"duplicate {name}"
    if not all(type(entry.get(side)) is int and 0 < entry[side] <= rle.MAX_SIDE for side in SIDES):
        yield f"{name}: height and width must be 1 to {rle.MAX_SIDE} pixels"
    if not isinstance(files, list) or not files or not all(isinstance(file, str) for file in files):
        yield f"{name}: 'file_names' must be a list of names"
    elif problem := next((problem for file in files if (problem := id_problem(file, nested=True))), None):
        yield f"{name}: {problem}"
    elif len({file.rpartition("/")[0] for file in files}) > 1 or "/" not in files[0]:
        yield f"{name}: its frames must be in one folder of their own"
    elif len(set(files)) < len(files):
        yield f"{name}: duplicate frame"


def _flag(value: Any) -> str | None:
    """Return `iscrowd`, which programs write as a number, a boolean or a text, as a key of FLAGS if it is one."""
    return None if value is None else str(plain_id(value)).strip().lower()


def _is_text(value: object) -> bool:
    return value is None or all(isinstance(text, str) for text in (value if isinstance(value, list) else [value]))


def _texts(entry: dict) -> Texts:
    """Return the sentences of an entry. Its number is their id only if the entry has a single sentence."""
    texts = entry.get("expressions", entry.get("expression"))
    texts = [text for text in (texts if isinstance(texts, list) else [texts]) if isinstance(text, str)]
    number = entry.get("exp_id", entry.get("expression_id"))
    return [(str(number) if number is not None and len(texts) == 1 else None, text) for text in texts]


def _group_by_folder(uri: str, entries: dict, annotations: dict[Any, list[CocoAnnotation]]) -> list[CocoVideo]:
    videos: dict[str, CocoVideo] = {}
    for key, entry in entries.items():
        folder = entry["file_names"][0].rpartition("/")[0]
        names = [file.rpartition("/")[2].rpartition(".")[0] for file in entry["file_names"]]
        video = videos.setdefault(folder, CocoVideo(folder, names, entry["height"], entry["width"]))
        if video.names != names:
            raise InputError(f"{uri} videos {key!r}: another entry lists other frames of {folder}; make them equal")
        video.entries.append(CocoEntry(_texts(entry), plain_attributes(entry, VIDEO_KEYS), annotations.get(key, [])))
    return sorted(videos.values(), key=lambda video: flat_id(video.folder))


def _sentence_pairs(video: CocoVideo) -> Iterator[dict]:
    for entry in video.entries:
        objects = [annotation for annotation in entry.annotations if not annotation.crowd]
        all_known = bool(objects) and all(annotation.has_masks for annotation in objects)
        ids = [annotation.object_id for annotation in objects] if all_known else None
        names = {"category": "+".join(sorted({annotation.category for annotation in objects}))} if objects else {}
        for number, text in entry.texts:
            pair = {"expression_id": number, "expression": text, "object_ids": ids}
            yield pair | entry.attributes | names
        for annotation in objects:
            ids = [annotation.object_id] if annotation.has_masks else None
            for number, text in annotation.texts:
                pair = {"expression_id": number, "expression": text, "object_ids": ids}
                yield pair | entry.attributes | {"category": annotation.category} | annotation.attributes


def _category_pairs(video: CocoVideo) -> Iterator[dict]:
    objects = [annotation for annotation in video.annotations() if not annotation.crowd and annotation.has_masks]
    for category_id in dict.fromkeys(annotation.category_id for annotation in objects):
        members = [annotation for annotation in objects if annotation.category_id == category_id]
        ids, name = [annotation.object_id for annotation in members], members[0].category
        yield {"expression_id": category_id, "expression": name, "object_ids": ids, "category": name}


def _number(pairs: list[dict]) -> None:
    """Give free numbers to pairs without an id, and to those whose id is taken."""
    taken: set[str] = set()
    number = 0
    for pair in sorted(pairs, key=lambda pair: pair["expression_id"] is None):
        while pair["expression_id"] is None or pair["expression_id"] in taken:
            pair["expression_id"] = str(number)
            number += 1
        taken.add(pair["expression_id"])


def _add_masks(
    coco_video: CocoVideo, masks: json_file.SpooledEntries, video: DatasetVideo, sequence: list[str]
) -> None:
    size = (coco_video.height, coco_video.width)
    object_masks = ObjectMasks(video, sequence, size)
    annotations = sorted((a for a in coco_video.annotations() if a.has_masks), key=lambda a: a.position)
    video.skipped += [(CROWDS, f"{video.video_id} annotation {a.object_id}") for a in annotations if a.crowd]
    for annotation in annotations:
        if annotation.crowd:
            continue
        object_id, (segmentations, boxes) = annotation.object_id, masks[str(annotation.position)]
        drawn = [_draw_polygons(mask, size) if isinstance(mask, list) and mask else mask for mask in segmentations]
        object_masks.add_list(object_id, coco_video.names, drawn, f"annotation {object_id}", boxes)
    if annotations:
        video.check_objects(object_masks.seen)
        video.annotations = object_masks.annotations()


def _draw_polygons(polygons: list, size: tuple[int, int]) -> dict | list:
    """Draw polygons as COCO does; return them as they are if one is invalid.

    COCO takes memory for each pixel of an outline, far outside of the frame too, and for each polygon at once.
    """
    limit, outline = 2 * max(size), 0.0
    for polygon in polygons:
        numbers = isinstance(polygon, list) and all(type(x) in (int, float) and abs(x) <= limit for x in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            return polygons
        corners = np.array(polygon, np.float64).reshape(-1, 2)
        outline += float(np.abs(corners - np.roll(corners, 1, 0)).max(1).sum())
    if outline > MAX_OUTLINE:
        return polygons
    drawn: Any = coco.merge(coco.frPyObjects(polygons, *size))
    return {"size": list(size), "counts": drawn["counts"].decode()}
