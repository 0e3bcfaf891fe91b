"""COCO instances for tools to look at masks with, OUT/VIDEO.json: FiftyOne and CVAT both read them.

{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name": "EXPRESSION_ID: EXPRESSION"}],
 "annotations": [{"id", "image_id", "category_id", "segmentation": {"size", "counts"}, "bbox", "area", "iscrowd",
                  "score"}]}

One file for each video, as CVAT has one task for each. File names are those in the folder of frames; of a video file
they are CVAT's own (frame_000000 ...); frames that cannot be listed are taken for JPEGs. Each expression is a category;
empty masks are left out.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.export.coco_video import box_and_area, segmentation
from pipeline.io import output_folder, storage
from pipeline.masks.by_video import PairMasks
from pipeline.video.folder import list_frames
from pipeline.video.image import is_image
from schemas.errors import InputError, MediaError


@dataclass(frozen=True, slots=True)
class Review:
    """What was written; `failed` pairs are categories without a mask."""

    videos: int
    pairs: int
    masks: int
    failed: int


def write_review(videos: Iterable[list[PairMasks]], out: str) -> Review:
    """Write a file for each video to the folder `out`. Raises InputError for a broken mask or an id that is no name."""
    counts = dict.fromkeys(("videos", "pairs", "masks", "failed"), 0)
    for video in videos:
        name = f"{storage.safe_name(video[0].video_id)}.json"
        if name == output_folder.DOCUMENT:
            raise InputError(video[0].message(f"{name} tells of the folder itself; give the video another id"))
        uri = storage.join(out, name)
        document = _document(video)
        storage.write_bytes(uri, (json.dumps(document, ensure_ascii=False) + "\n").encode())
        counts["videos"] += 1
        counts["pairs"] += len(video)
        counts["masks"] += len(document["annotations"])
        counts["failed"] += sum(not pair.frames.num_rows for pair in video)
    return Review(**counts)


def _document(video: list[PairMasks]) -> dict:
    names = _file_names(video)
    images: dict[int, dict] = {}
    annotations = []
    categories = [
        {"id": number, "name": f"{pair.expression_id}: {pair.row.get('expression') or ''}".rstrip(": ")}
        for number, pair in enumerate(video, start=1)
    ]
    for category, pair in zip(categories, video, strict=True):
        for row in pair.rows():
            index, name = row["frame_index"], row["frame_name"]
            file_name = f"frame_{index:06d}.jpg"
            if names is not None:
                file_name = pair.file_name(names.get(name, f"{name}.jpg"), name)
            image = {"id": index + 1, "file_name": file_name, "width": row["width"], "height": row["height"]}
            images.setdefault(index, image)
            found = segmentation(pair, row)
            if found is None:
                continue
            box, area = box_and_area(found)
            place = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": category["id"]}
            shape = {"segmentation": found, "bbox": box, "area": area, "iscrowd": 0, "score": row["score"]}
            annotations.append(place | shape)
    return {
        "info": {"description": f"refervos: {video[0].video_id}"},
        "images": [images[index] for index in sorted(images)],
        "categories": categories,
        "annotations": annotations,
    }


def _file_names(video: list[PairMasks]) -> dict[str, str] | None:
    """Frame name -> file name, of a folder of frames or an image; empty if it cannot be listed; None for a video."""
    uri = video[0].row.get("video_uri")
    if uri is None:
        return {}
    try:
        if not storage.exists(uri) or storage.is_folder(uri):
            return list_frames(uri)
        file = storage.file_name(uri)
        return {file.rpartition(".")[0]: file} if is_image(uri) else None
    except (OSError, MediaError):
        return {}
