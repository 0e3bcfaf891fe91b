"""COCO for video, the JSON of YouTube-VIS: one annotation for each pair, with a mask for each frame of its video.

{"videos": [{"id", "name", "width", "height", "length", "file_names": ["VIDEO/FRAME.jpg", ...]}],
 "categories": [{"id": 1, "name": "object"}],
 "annotations": [{"id", "video_id", "category_id", "iscrowd", "width", "height", "segmentations": [{"size", "counts"} or
                  null, ...], "bboxes", "areas", "expression_id", "expression", "score", "scores"}]}

Ids are numbers from 1; `name` and `expression_id` are those of the manifest. As in YouTube-VIS, null stands for an
empty mask and for a frame without a row.
"""

import json
import shutil
import tempfile
from typing import Any, TextIO

from pycocotools import mask as coco

from pipeline.export.exported import Exported
from pipeline.io import output_file, storage
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.masks.row_groups import frame_name
from schemas import rle
from schemas.errors import InputError

CATEGORY = {"id": 1, "name": "object"}


def write_coco_video(source: MaskSource, out: str) -> Exported:
    """Write the file `out` in one step. Pairs that failed are counted and left out.

    Both lists are written to disk while they grow, so memory is that of one video. Raises InputError for broken masks,
    for ids that cannot be file names, and if `out` exists with other content.
    """
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "masks", "failed"), 0)
    with storage.spool(out) as path, tempfile.TemporaryFile("w+", encoding="utf-8") as videos:
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"info": {"description": "refervos"}, "categories": ' + json.dumps([CATEGORY]))
            file.write(', "annotations": [')
            for video in source.videos():
                pairs = [pair for pair in video if pair.frames.num_rows]
                counts["failed"] += len(video) - len(pairs)
                if not pairs:
                    continue
                frames = sorted({(row["frame_index"], row["frame_name"]) for pair in pairs for row in pair.rows()})
                first = pairs[0].frames.slice(0, 1).to_pylist()[0]
                folder = storage.safe_name(pairs[0].video_id)
                names = [f"{folder}/{pairs[0].file_name(f'{name}.jpg', name)}" for _, name in frames]
                entry = {"id": counts["videos"] + 1, "name": pairs[0].video_id}
                entry |= {"width": first["width"], "height": first["height"], "length": len(frames)}
                _write_item(videos, entry | {"file_names": names}, counts["videos"])
                counts["videos"] += 1
                for pair in pairs:
                    annotation = _annotation(counts["pairs"] + 1, counts["videos"], pair, frames)
                    _write_item(file, annotation, counts["pairs"])
                    counts["pairs"] += 1
                    counts["masks"] += sum(mask is not None for mask in annotation["segmentations"])
            file.write('], "videos": [')
            videos.seek(0)
            shutil.copyfileobj(videos, file)
            file.write("]}\n")
        output_file.commit_same(path, out)
    return Exported(counts)


def segmentation(pair: PairMasks, row: dict) -> dict[str, Any] | None:
    """Return a mask as {"size", "counts"} of COCO's JSON; None if it is empty. Raises InputError if it is broken."""
    size = row["height"], row["width"]
    try:
        rle.check(row["counts"], *size)
    except rle.RleError as error:
        raise InputError(pair.message(error, frame_name(row))) from None
    mask = {"size": list(size), "counts": row["counts"].decode("ascii")}
    return mask if coco.area(mask) else None  # pyright: ignore[reportArgumentType]


def box_and_area(mask: dict[str, Any]) -> tuple[list[float], int]:
    """Return x, y, w, h in whole pixels and the number of pixels of a mask in COCO's JSON."""
    box: Any = coco.toBbox(mask)  # pyright: ignore[reportArgumentType]
    area: Any = coco.area(mask)  # pyright: ignore[reportArgumentType]
    return box.tolist(), int(area)


def _annotation(number: int, video: int, pair: PairMasks, frames: list[tuple[int, str]]) -> dict:
    rows = {row["frame_index"]: row for row in pair.rows()}
    masks = [segmentation(pair, rows[index]) if index in rows else None for index, _ in frames]
    measured = [(None, None) if mask is None else box_and_area(mask) for mask in masks]
    first = next(iter(rows.values()))
    return {
        "id": number,
        "video_id": video,
        "category_id": CATEGORY["id"],
        "iscrowd": 0,
        "width": first["width"],
        "height": first["height"],
        "segmentations": masks,
        "bboxes": [box for box, _ in measured],
        "areas": [area for _, area in measured],
        "expression_id": pair.expression_id,
        "expression": pair.row.get("expression"),
        "score": first["pair_score"],
        "scores": [rows[index]["score"] if index in rows else None for index, _ in frames],
    }


def _write_item(file: TextIO, item: dict, items_before: int) -> None:
    file.write(("," if items_before else "") + "\n" + json.dumps(item, ensure_ascii=False))
