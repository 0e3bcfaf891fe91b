"""Ref-YouTube-VOS, and everything in its layout (Ref-DAVIS17 after the usual conversion, MeViS-like files).

    ROOT/meta_expressions.json                      or  ROOT/meta_expressions/SPLIT/meta_expressions.json
    ROOT/JPEGImages/VIDEO/NAME.jpg                      ROOT/SPLIT/JPEGImages/VIDEO/NAME.jpg
    ROOT/Annotations/VIDEO/NAME.png  (if known)         ROOT/SPLIT/Annotations/VIDEO/NAME.png
    ROOT/meta.json                   (if there)         ROOT/SPLIT/meta.json

`meta_expressions.json` is {"videos": {VIDEO: {"frames": [NAME, ...], "expressions": {ID: {"exp": TEXT, "obj_id": VALUE
or [VALUE, ...]}}}}}; `obj_id` is left out where the truth is withheld. Other keys with plain values become attributes,
and so does `category` of the objects in `meta.json` (the original YouTube-VOS file).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from pipeline import storage
from pipeline.datasets.imported import ImportedVideo
from pipeline.datasets.palette import MaskRows, read_mask
from pipeline.parallel import bounded_map
from pipeline.video import folder
from schemas.check import Problem, SchemaError
from schemas.errors import InputError, MediaError
from schemas.manifest import MANIFEST

VIDEOS_AT_ONCE = 8
ATTRIBUTES_WITH_A_COLUMN = ("annotator", "split")

# What to know about the data set; the places that it concerns are counted. After the semicolon: what to do, or expect.
NO_FRAMES = "videos without a folder of frames; bring it there before 'rvos segment'"
SOME_FRAMES = "videos without images of all frames that meta_expressions.json lists; their pairs will fail"
NO_MASK_OF_OBJECT = "expressions whose obj_id is in no mask; they will score as absent throughout"
NO_TEXT = "empty expressions; their pairs will fail"
NO_EXPRESSIONS = "videos without expressions; they are not in the manifest"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie."""

    expressions: str
    frames: str
    annotations: str
    meta: str
    split: str | None


def read(root: str, split: str | None) -> Iterator[ImportedVideo]:
    """All videos of the data set in the folder `root`, sorted by id.

    Raises InputError, listing everything found, if there is no such data set or its JSON is not of the form above.
    """
    layout = find_layout(storage.absolute(root), split)
    videos = _load(layout.expressions).get("videos")
    problems = [Problem(layout.expressions, None, text) for text in _form_problems(videos)]
    if problems or not isinstance(videos, dict):
        raise SchemaError(problems)
    categories = _categories(layout.meta) if storage.exists(layout.meta) else {}
    return bounded_map(partial(_import_video, layout, categories), sorted(videos.items()), VIDEOS_AT_ONCE)


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
        return _layout(expressions, storage.join(root, split or ""), split)
    if splits:
        raise InputError(f"{root} has the splits {', '.join(splits)}; choose one with --split")
    if split is not None and storage.exists(flat):
        raise InputError(f"{root} is not divided into splits ({flat}); leave --split out")
    raise InputError(f"no data set in {root}: neither {flat} nor {published}/SPLIT/meta_expressions.json is there")


def _layout(expressions: str, base: str, split: str | None) -> Layout:
    frames, annotations, meta = (storage.join(base, name) for name in ("JPEGImages", "Annotations", "meta.json"))
    return Layout(expressions, frames, annotations, meta, split)


def _load(uri: str) -> dict:
    try:
        content = json.loads(storage.read_bytes(uri), object_pairs_hook=_no_doubles)
    except FileNotFoundError:
        raise InputError(f"{uri} is not there") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{uri} is not sound JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{uri} holds no JSON object; needed is {{'videos': ...}}")
    return content


def _no_doubles(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return content


def _form_problems(videos: object) -> Iterator[str]:
    """What keeps the JSON from being read; each text names video and expression."""
    if not isinstance(videos, dict) or not videos:
        yield "'videos' is missing, empty or no object"
        return
    for video_id, video in videos.items():
        yield from _id_problems(f"video {video_id!r}", video_id)
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
            elif (objects := _object_ids(expression)) is not None and not all(_is_id(value) for value in objects):
                yield f"{where}: obj_id must be a string, a whole number or a list of those"


def _id_problems(where: str, value: str) -> Iterator[str]:
    try:
        storage.safe_name(value)
    except InputError as error:
        yield f"{where}: {error}"


def _frame_problems(video_id: str, frames: object) -> Iterator[str]:
    if not isinstance(frames, list) or not frames or not all(isinstance(name, str) for name in frames):
        yield f"video {video_id!r} has no list 'frames' of names"
        return
    if len(set(frames)) < len(frames):
        yield f"video {video_id!r} lists a frame twice"
    for name in frames:
        yield from _id_problems(f"video {video_id!r} frame {name!r}", name)


def _object_ids(expression: dict) -> list | None:
    value = expression.get("obj_id")
    return value if value is None or isinstance(value, list) else [value]


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _import_video(layout: Layout, categories: dict, item: tuple[str, dict]) -> ImportedVideo:
    video_id, video = item
    found = ImportedVideo(video_id)
    names = _frame_names(storage.join(layout.frames, video_id), found)
    listed = video["frames"]
    if absent := [name for name in listed if names and name not in set(names)]:
        found.warnings.append((SOME_FRAMES, f"{video_id} {absent[0]} and {len(absent) - 1} more"))
    sequence = names or listed
    found.pairs = [
        {
            "video_id": video_id,
            "video_uri": storage.join(layout.frames, video_id),
            "expression_id": expression_id,
            "expression": expression["exp"],
            "frames": None if set(listed) == set(names) else listed,  # null leaves the choice to --frame-step
            "num_frames": len(sequence),
            "object_ids": None if (ids := _object_ids(expression)) is None else [str(value) for value in ids],
            "split": layout.split,
            **_attributes(video, ("frames", "expressions")),
            **_category(categories.get(video_id, {}), ids),
            **_attributes(expression, ("exp", "obj_id")),
        }
        for expression_id, expression in video["expressions"].items()
    ]
    found.warnings += [(NO_TEXT, _name(pair)) for pair in found.pairs if not pair["expression"].strip()]
    if not found.pairs:
        found.warnings.append((NO_EXPRESSIONS, video_id))
    _add_masks(layout, sequence, bool(names), found)
    return found


def _frame_names(uri: str, found: ImportedVideo) -> list[str]:
    """Names in the folder of frames; empty, with a warning, if it is not there."""
    try:
        return list(folder.list_frames(uri))
    except (FileNotFoundError, NotADirectoryError):
        found.warnings.append((NO_FRAMES, uri))
    except MediaError as error:
        if error.status == "missing":
            found.warnings.append((NO_FRAMES, uri))
        else:
            found.problems.append(str(error))
    return []


def _add_masks(layout: Layout, sequence: list[str], has_frames: bool, found: ImportedVideo) -> None:
    """Fill in annotations and void from the masks of the video, if it has any."""
    uri = storage.join(layout.annotations, found.video_id)
    try:
        masks = [name for name in storage.names(uri) if name.lower().endswith(".png")]
    except (FileNotFoundError, NotADirectoryError):
        return
    index_of = {name: index for index, name in enumerate(sequence)}
    rows = MaskRows(found.video_id, {object_id for pair in found.pairs for object_id in pair["object_ids"] or ()})
    size = None
    for file in masks:
        name = file[: -len(".png")]
        try:
            if size is None and has_frames:
                header = folder.probe(storage.join(layout.frames, found.video_id))
                size = (header.height, header.width)
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
        in_masks = rows.found()
        for pair in found.pairs:
            if unknown := set(pair["object_ids"] or ()) - in_masks:
                found.warnings.append((NO_MASK_OF_OBJECT, f"{_name(pair)} obj_id {min(unknown)}"))
    found.annotations, found.void = rows.annotations(), rows.void()


def _attributes(entry: dict, known: tuple[str, ...]) -> dict:
    """Further keys of an entry with plain values, but those whose name a manifest column has."""
    taken = set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) | set(known)
    plain = {name: value for name, value in entry.items() if isinstance(value, str | int | float | bool)}
    return {name: value for name, value in plain.items() if name not in taken}


def _categories(uri: str) -> dict[str, dict[str, str]]:
    """What `meta.json` says: video id -> object id -> category."""
    try:
        return {
            video_id: {object_id: str(entry["category"]) for object_id, entry in video["objects"].items()}
            for video_id, video in _load(uri)["videos"].items()
        }
    except (KeyError, TypeError, AttributeError) as error:
        form = "{'videos': {VIDEO: {'objects': {ID: {'category': NAME}}}}}"
        raise InputError(f"{uri} is not of the form {form} ({error!r}); correct or remove it") from None


def _category(categories: dict[str, str], object_ids: list | None) -> dict:
    """The category of the objects meant, several joined by '+'; nothing where it is not known."""
    names = {categories[str(object_id)] for object_id in object_ids or () if str(object_id) in categories}
    return {"category": "+".join(sorted(names))} if names else {}


def _name(pair: dict) -> str:
    return f"{pair['video_id']} expression {pair['expression_id']}"
