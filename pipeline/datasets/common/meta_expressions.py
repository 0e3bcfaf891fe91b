"""`meta_expressions.json`: the form in which Ref-YouTube-VOS and later data sets store their sentences.

    {"videos": {VIDEO: {"frames": [NAME, ...], "expressions": {ID: {"exp": TEXT, OBJECTS: VALUE or [VALUE, ...]}}}}}

OBJECTS is `obj_id`, in MeViS and ReVOS `anno_id`. It is missing where the truth is withheld; an empty list means that
the sentence has no target. Other keys with plain values become attributes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import DatasetVideo, flat_id, id_problem, plain_attributes
from pipeline.io import storage
from schemas.check import Problem, SchemaError

OBJECT_KEYS = ("obj_id", "anno_id")


@dataclass(slots=True)
class ListedVideo:
    """A video as the file lists it, and the images that exist."""

    video: DatasetVideo
    uri: str  # folder of its frames
    names: list[str]  # of the frames in the file, in its order
    sequence: list[str]  # names of all frames in order, which `frame_index` counts; without images: `names`
    has_frames: bool

    def frame_size(self) -> tuple[int, int] | None:
        """Height and width of the images; None without images or, with a problem, if the first one is damaged."""
        return self.video.frame_size(self.uri) if self.has_frames else None


def load(uri: str, object_key: str = "obj_id") -> list[tuple[str, dict]]:
    """Video names and entries, sorted by id. Raises InputError that lists all deviations from the form above."""
    videos = json_file.load(uri).get("videos")
    problems = [Problem(uri, None, text) for text in _problems(videos, object_key)]
    if problems or not isinstance(videos, dict):
        raise SchemaError(problems)
    return sorted(videos.items(), key=lambda item: flat_id(item[0]))


def list_video(frames: str, split: str | None, object_key: str, name: str, entry: dict) -> ListedVideo:
    """Read the pairs of one of the videos of `load`; its images are in the folder `frames`/VIDEO."""
    video = DatasetVideo(flat_id(name))
    uri = storage.join(frames, name)
    images = video.list_frames(uri)
    names = entry["frames"]
    video.check_listed(names, images)
    sequence = images or names
    for expression_id, expression in entry["expressions"].items():
        objects = _as_list(expression.get(object_key))
        pair = {
            "video_id": video.video_id,
            "video_uri": uri,
            "expression_id": expression_id,
            "expression": expression["exp"],
            "frames": None if set(names) == set(images) else names,  # null leaves the choice to --frame-step
            "num_frames": len(sequence),
            "object_ids": None if objects is None else list(dict.fromkeys(map(str, objects))),
            "split": split,
            **plain_attributes(entry, ("frames", "expressions")),
            **plain_attributes(expression, ("exp", *OBJECT_KEYS)),
        }
        video.pairs.append(pair)
    video.check_texts()
    return ListedVideo(video, uri, names, sequence, bool(images))


def _problems(videos: object, object_key: str) -> Iterator[str]:
    if not isinstance(videos, dict) or not videos:
        yield "'videos' must be an object with at least one video"
        return
    for video_id, video in videos.items():
        where = f"video {video_id!r}"
        if problem := id_problem(video_id, nested=True):
            yield f"{where}: {problem}"
        if not isinstance(video, dict):
            yield f"{where} must be an object"
            continue
        frames, expressions = video.get("frames"), video.get("expressions")
        if not isinstance(frames, list) or not frames or not all(isinstance(name, str) for name in frames):
            yield f"{where}: 'frames' must be a list of names"
        else:
            if len(set(frames)) < len(frames):
                yield f"{where}: duplicate frame"
            yield from (f"{where} frame {name!r}: {problem}" for name in frames if (problem := id_problem(name)))
        if not isinstance(expressions, dict):
            yield f"{where}: 'expressions' must be an object"
            continue
        for expression_id, expression in expressions.items():
            yield from _expression_problems(
                f"{where} expression {expression_id!r}", expression_id, expression, object_key
            )


def _expression_problems(where: str, expression_id: str, expression: object, object_key: str) -> Iterator[str]:
    if problem := id_problem(expression_id):
        yield f"{where}: {problem}"
    if not isinstance(expression, dict) or not isinstance(expression.get("exp"), str):
        yield f"{where}: 'exp' must be a text"
        return
    objects = _as_list(expression.get(object_key)) or []
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in objects):
        yield f"{where}: {object_key} must be a string, a whole number or a list of those"
        return
    yield from (f"{where} {object_key}: {problem}" for value in objects if (problem := id_problem(str(value))))


def _as_list(value: object) -> list | None:
    return value if value is None or isinstance(value, list) else [value]
