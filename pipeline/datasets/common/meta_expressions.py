"""`meta_expressions.json`: the form in which Ref-YouTube-VOS and the data sets after it keep their sentences.

    {"videos": {VIDEO: {"frames": [NAME, ...], "expressions": {ID: {"exp": TEXT, OBJECTS: VALUE or [VALUE, ...]}}}}}

OBJECTS is `obj_id`, in MeViS and ReVOS `anno_id`; it is left out where the truth is withheld, and an empty list means
that the sentence has no target. Other keys with plain values become attributes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import (
    DatasetVideo,
    attributes,
    flat_id,
    frame_names,
    frame_size,
    id_problem,
)
from pipeline.io import storage
from schemas.check import Problem, SchemaError

OBJECT_KEYS = ("obj_id", "anno_id")

SOME_FRAMES = "videos without images of all frames that meta_expressions.json lists; their pairs will fail"


@dataclass(slots=True)
class Listing:
    """A video as the file lists it, beside the frames that are there."""

    found: DatasetVideo
    uri: str  # folder of its frames
    listed: list[str]  # frame names of the file, in its order
    sequence: list[str]  # all frames in order, which `frame_index` counts; without images: those listed
    has_frames: bool

    def frame_size(self) -> tuple[int, int] | None:
        """Height and width of its images; None if they are not there, or, with a problem, the first one is broken."""
        return frame_size(self.uri, self.found) if self.has_frames else None


def load(uri: str, objects: str = "obj_id") -> list[tuple[str, dict]]:
    """Video names and entries, sorted by id. Raises InputError that lists everything that is not of the form above."""
    videos = json_file.load(uri).get("videos")
    problems = [Problem(uri, None, text) for text in _problems(videos, objects)]
    if problems or not isinstance(videos, dict):
        raise SchemaError(problems)
    return sorted(videos.items(), key=lambda item: flat_id(item[0]))


def listing(frames: str, split: str | None, objects: str, item: tuple[str, dict]) -> Listing:
    """The pairs of one of the videos of `load`, whose images lie in the folder `frames`/VIDEO."""
    name, video = item
    found = DatasetVideo(flat_id(name))
    uri = storage.join(frames, name)
    names = frame_names(uri, found)
    listed = video["frames"]
    if absent := [frame for frame in listed if names and frame not in set(names)]:
        found.warnings.append((SOME_FRAMES, f"{found.video_id} {absent[0]} and {len(absent) - 1} more"))
    sequence = names or listed
    found.pairs = [
        {
            "video_id": found.video_id,
            "video_uri": uri,
            "expression_id": expression_id,
            "expression": expression["exp"],
            "frames": None if set(listed) == set(names) else listed,  # null leaves the choice to --frame-step
            "num_frames": len(sequence),
            "object_ids": _object_ids(expression, objects),
            "split": split,
            **attributes(video, ("frames", "expressions")),
            **attributes(expression, ("exp", *OBJECT_KEYS)),
        }
        for expression_id, expression in video["expressions"].items()
    ]
    found.check_texts()
    return Listing(found, uri, listed, sequence, bool(names))


def _problems(videos: object, objects: str) -> Iterator[str]:
    """What keeps the JSON from being read; each text names video and expression."""
    if not isinstance(videos, dict) or not videos:
        yield "'videos' is missing, empty or no object"
        return
    for video_id, video in videos.items():
        yield from _id_problems(f"video {video_id!r}", video_id, nested=True)
        if not isinstance(video, dict):
            yield f"video {video_id!r} is no object"
            continue
        yield from _frame_problems(video_id, video.get("frames"))
        expressions = video.get("expressions")
        if not isinstance(expressions, dict):
            yield f"video {video_id!r} has no object 'expressions'"
            continue
        for expression_id, expression in expressions.items():
            where = f"video {video_id!r} expression {expression_id!r}"
            yield from _id_problems(where, expression_id)
            if not isinstance(expression, dict) or not isinstance(expression.get("exp"), str):
                yield f"{where} has no text 'exp'"
                continue
            values = _values(expression, objects) or []
            if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
                yield f"{where}: {objects} must be a string, a whole number or a list of those"
            else:
                for value in values:
                    yield from _id_problems(f"{where} {objects}", str(value))


def _id_problems(where: str, value: str, *, nested: bool = False) -> Iterator[str]:
    if problem := id_problem(value, nested=nested):
        yield f"{where}: {problem}"


def _frame_problems(video_id: str, frames: object) -> Iterator[str]:
    if not isinstance(frames, list) or not frames or not all(isinstance(name, str) for name in frames):
        yield f"video {video_id!r} has no list 'frames' of names"
        return
    if len(set(frames)) < len(frames):
        yield f"video {video_id!r} lists a frame twice"
    for name in frames:
        yield from _id_problems(f"video {video_id!r} frame {name!r}", name)


def _values(expression: dict, objects: str) -> list | None:
    value = expression.get(objects)
    return value if value is None or isinstance(value, list) else [value]


def _object_ids(expression: dict, objects: str) -> list[str] | None:
    values = _values(expression, objects)
    return None if values is None else list(dict.fromkeys(str(value) for value in values))
