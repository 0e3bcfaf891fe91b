"""Results in the JSON of YouTube-VIS become a table of PREDICTIONS, entry by entry.

A list of results, or an object with the lists `videos` and `annotations`:

{"video_id", "expression_id", "segmentations": [{"size", "counts"} or null, ...], "score", "scores"}
"""

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.datasets.common import json_file
from pipeline.datasets.common.dataset_video import flat_id
from pipeline.datasets.common.object_masks import Size, from_coco
from pipeline.datasets.common.plain_ids import plain_id
from pipeline.io import storage
from pipeline.io.manifest import MAX_FRAMES
from pipeline.masks.row_groups import LEAST_SCORES, score_problem
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.printable import counted

IDS = ("expression_id", "exp_id")
ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """An entry of `videos`. `names`: of its frames; without them, masks are in the order of the manifest's frames."""

    video_id: str
    names: list[str] | None


def write_table(uri: str, expressions: Mapping[str, list[str]], path: str) -> None:
    """Write the masks of a JSON file to the Parquet file `path`, with row groups for each entry.

    expressions: those of each video of the manifest. An entry without an id of its expression is for the only one of
    its video. Raises InputError that names the entry.
    """
    with storage.open_input(uri) as file:
        is_list = file.read(4096).decode("utf-8-sig", "replace").lstrip().startswith("[")
    videos = {} if is_list else _videos(uri, expressions)
    with pq.ParquetWriter(path, PREDICTIONS, compression="zstd") as writer:
        for position, entry in _entries(uri, "annotations", is_list):
            place = f"{uri} {'result' if is_list else 'annotation'} {position}"
            if not isinstance(entry, dict) or not isinstance(entry.get("segmentations"), list):
                raise InputError(f"{place}: no list 'segmentations', with a mask or null for each frame of the video")
            number = entry.get("video_id")
            if number is None or (not is_list and _id(number) not in videos):
                raise InputError(f"{place}: unknown video {number!r}")
            video = videos.get(_id(number)) or ListedVideo(_id(number), None)
            pair = {"video_id": video.video_id, "expression_id": _expression(entry, video, expressions, place)}
            rows = _rows(entry, video, pair, place)
            while some := [*itertools.islice(rows, ROWS_AT_ONCE)]:
                writer.write_table(pa.Table.from_pylist(some, schema=PREDICTIONS))


def _entries(uri: str, name: str, is_list: bool) -> Iterator[tuple[int, Any]]:
    for path, value in json_file.entries(uri, depth=1 if is_list else 2):
        if not path:
            raise InputError(f"{uri}: results are a list, or an object with the lists 'videos' and 'annotations'")
        if is_list or path[0] == name:
            position = path[-1]
            if not isinstance(position, int):
                raise InputError(f"{uri}: {name!r} must be a list, as in YouTube-VIS")
            yield position, value


def _videos(uri: str, known: Mapping[str, object]) -> dict[str, ListedVideo]:
    """Return the videos by their number. The name of one is that of the manifest: `name`, its folder or the number."""
    found = {}
    for position, entry in _entries(uri, "videos", is_list=False):
        if not isinstance(entry, dict) or "id" not in entry:
            raise InputError(f"{uri} video {position}: 'id' is missing")
        files = entry.get("file_names")
        names, folders = None, list[str]()
        if isinstance(files, list) and files and all(isinstance(file, str) for file in files):
            names = [file.rpartition("/")[2].rpartition(".")[0] or file for file in files]
            folders = [folder for folder in files[0].split("/")[:-1] if folder]
        parts = [flat_id("/".join(folders[start:])) for start in range(len(folders))]  # JPEGImages/v1, v1
        candidates = [_id(one) for one in (entry.get("name"), *parts, entry["id"]) if one is not None]
        video_id = next((one for one in candidates if one in known), candidates[0])
        found[_id(entry["id"])] = ListedVideo(video_id, names)
    return found


def _expression(entry: dict, video: ListedVideo, expressions: Mapping[str, list[str]], place: str) -> str:
    if found := [_id(entry[name]) for name in IDS if entry.get(name) is not None]:
        return found[0]
    of_video = expressions.get(video.video_id, [])
    if len(of_video) > 1:
        text = f"no 'expression_id', and video {video.video_id} has {len(of_video)} expressions in the manifest"
        raise InputError(f"{place}: {text}; add it")
    return of_video[0] if of_video else ""


def _rows(entry: dict, video: ListedVideo, pair: dict, place: str) -> Iterator[dict]:
    """Yield a row for each mask; null, or no polygons, has neither size nor counts. A broken mask is an error row."""
    masks = entry["segmentations"]
    if len(masks) > MAX_FRAMES:
        raise InputError(f"{place}: {len(masks)} masks, more than {MAX_FRAMES} frames of a video")
    if video.names is not None and len(video.names) != len(masks):
        text = f"{counted(len(masks), 'mask')} for the {counted(len(video.names), 'frame')} of its video"
        yield pair | {"status": "bad_row", "error": text}
        return
    for number, (mask, score) in enumerate(zip(masks, _scores(entry, place), strict=True)):
        name = None if video.names is None else video.names[number]
        row = pair | {"frame_index": number, "frame_name": name, "score": score, "status": "ok"}
        try:
            counts, (height, width) = (None, (None, None)) if mask in (None, []) else _from_json(mask)
            yield row | {"counts": counts, "height": height, "width": width}
        except rle.RleError as error:
            yield row | {"status": "corrupt", "error": str(error)}


def _from_json(mask: object) -> tuple[bytes, Size]:
    if isinstance(mask, list):
        raise rle.RleError("it is a polygon; write it as RLE, such as by pycocotools.mask.frPyObjects and merge")
    return from_coco(mask)


def _id(value: object) -> str:
    return str(plain_id(value))


def _scores(entry: dict, place: str) -> list[float | None]:
    """Return a score for each mask: those of `scores`, or `score` for all.

    Raises InputError unless each is null or a number in 0..1, and `scores` has as many as there are masks.
    """
    masks, scores = entry["segmentations"], entry.get("scores")
    if scores is None:
        return [_score(entry.get("score"), place)] * len(masks)
    if not isinstance(scores, list):
        raise InputError(f"{place}: 'scores' is {scores!r:.40}, not a list with a number or null for each mask")
    if len(scores) != len(masks):
        have = f"{counted(len(scores), 'value')} for {counted(len(masks), 'mask')}"
        raise InputError(f"{place}: 'scores' has {have}; write one for each")
    return [_score(score, f"{place} frame {number}") for number, score in enumerate(scores)]


def _score(score: object, place: str) -> float | None:
    if score is None:
        return None
    if not isinstance(score, int | float) or isinstance(score, bool):
        raise InputError(f"{place}: the score {score!r:.40} is not a number; write a number or null")
    if not LEAST_SCORES["score"] <= score <= 1:
        raise InputError(f"{place}: {score_problem('score', float(score) if abs(score) < 1e300 else math.inf)}")
    return float(score)
