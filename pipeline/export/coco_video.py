"""COCO for video, the JSON of YouTube-VIS: a list of RLEs for each pair, one for each frame of its video.

{"videos": [{"id", "name", "width", "height", "length", "file_names": ["VIDEO/FRAME.jpg", ...]}],
 "categories": [{"id": 1, "name": "object"}],
 "annotations": [{"id", "video_id", "category_id", "iscrowd", "width", "height", "segmentations": [{"size", "counts"} or
                  null, ...], "bboxes", "areas", "expression_id", "expression", "score", "scores"}]}

Ids are numbers from 1, `name` and `expression_id` are those of the manifest. Null stands for an empty mask and for a
frame that the pair was not asked for, as in that data set.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TextIO

from pycocotools import mask as coco

from pipeline.io import storage
from pipeline.masks.by_video import PairMasks, frame_name
from schemas import rle
from schemas.errors import InputError

OBJECT = {"id": 1, "name": "object"}


@dataclass(frozen=True, slots=True)
class CocoVideo:
    """What is in the file; `failed` pairs have no masks and are not in it."""

    videos: int
    pairs: int
    masks: int
    failed: int


def write_coco_video(videos: Iterable[list[PairMasks]], out: str) -> CocoVideo:
    """Write the file `out`, replacing an earlier one in one step; same predictions, same bytes.

    Both lists grow on disk, so memory is that of one video. Raises InputError for broken masks and bad ids.
    """
    counts = dict.fromkeys(("videos", "pairs", "masks", "failed"), 0)
    with storage.spool(out) as path, tempfile.TemporaryFile("w+", encoding="utf-8") as listed:
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"info": {"description": "refervos"}, "categories": ' + json.dumps([OBJECT]))
            file.write(', "annotations": [')
            for video in videos:
                good = [pair for pair in video if pair.frames.num_rows]
                counts["failed"] += len(video) - len(good)
                if not good:
                    continue
                frames = sorted({(row["frame_index"], row["frame_name"]) for pair in good for row in pair.rows()})
                _write_item(listed, _video(counts["videos"] + 1, good[0], frames), counts["videos"])
                counts["videos"] += 1
                for pair in good:
                    annotation = _annotation(counts["pairs"] + 1, counts["videos"], pair, frames)
                    _write_item(file, annotation, counts["pairs"])
                    counts["pairs"] += 1
                    counts["masks"] += sum(one is not None for one in annotation["segmentations"])
            file.write('], "videos": [')
            listed.seek(0)
            shutil.copyfileobj(listed, file)
            file.write("]}\n")
        storage.commit(path, out, replace=True)
    return CocoVideo(**counts)


def segmentation(pair: PairMasks, row: dict) -> dict[str, Any] | None:
    """A mask as COCO writes it in JSON, checked; None if it is empty."""
    size = row["height"], row["width"]
    try:
        rle.check(row["counts"], *size)
    except rle.RleError as error:
        raise InputError(pair.message(error, frame_name(row))) from None
    found = {"size": list(size), "counts": row["counts"].decode("ascii")}
    return found if coco.area(found) else None  # pyright: ignore[reportArgumentType]


def box_and_area(found: dict[str, Any]) -> tuple[list[float], int]:
    """x, y, w, h in whole pixels, and the number of pixels."""
    box: Any = coco.toBbox(found)  # pyright: ignore[reportArgumentType]
    area: Any = coco.area(found)  # pyright: ignore[reportArgumentType]
    return box.tolist(), int(area)


def _video(number: int, pair: PairMasks, frames: list[tuple[int, str]]) -> dict:
    row = pair.frames.slice(0, 1).to_pylist()[0]
    folder = storage.safe_name(pair.video_id)
    names = [f"{folder}/{pair.file_name(f'{name}.jpg', name)}" for _, name in frames]
    size = {"width": row["width"], "height": row["height"], "length": len(frames)}
    return {"id": number, "name": pair.video_id, **size, "file_names": names}


def _annotation(number: int, video: int, pair: PairMasks, frames: list[tuple[int, str]]) -> dict:
    rows = {row["frame_index"]: row for row in pair.rows()}
    found = [segmentation(pair, rows[index]) if index in rows else None for index, _ in frames]
    measured = [(None, None) if one is None else box_and_area(one) for one in found]
    first = next(iter(rows.values()))
    return {
        "id": number,
        "video_id": video,
        "category_id": OBJECT["id"],
        "iscrowd": 0,
        "width": first["width"],
        "height": first["height"],
        "segmentations": found,
        "bboxes": [box for box, _ in measured],
        "areas": [area for _, area in measured],
        "expression_id": pair.expression_id,
        "expression": pair.row.get("expression"),
        "score": first["pair_score"],
        "scores": [rows[index]["score"] if index in rows else None for index, _ in frames],
    }


def _write_item(file: TextIO, item: dict, before: int) -> None:
    file.write(("," if before else "") + "\n" + json.dumps(item, ensure_ascii=False))
