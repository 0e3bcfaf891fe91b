"""COCO instances, OUT/VIDEO.json, for tools that show masks: FiftyOne and CVAT both read them.

{"images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name": "EXPRESSION_ID: EXPRESSION"}],
 "annotations": [{"id", "image_id", "category_id", "segmentation": {"size", "counts"}, "bbox", "area", "iscrowd",
                  "score"}]}

One file for each video, because CVAT has one task for each. File names are those of the folder of frames; for a video
file they are CVAT's own (frame_000000 ...). Frames of a folder that cannot be listed get the ending .jpg. Each
expression is a category; empty masks are left out.
"""

import json

from pipeline.export.coco_video import box_and_area, segmentation
from pipeline.export.exported import Exported
from pipeline.io import output_folder, storage
from pipeline.masks.by_video import MaskSource, PairMasks
from pipeline.video.folder import list_frames
from pipeline.video.picture import is_image
from schemas.errors import InputError, MediaError


def write_review(source: MaskSource, out: str) -> Exported:
    """Write one file for each video to the folder `out`; pairs that failed are categories without a mask.

    Raises InputError for broken masks and for ids that cannot be file names.
    """
    counts: dict[str, int] = dict.fromkeys(("videos", "pairs", "masks", "failed"), 0)
    for video in source.videos():
        name = storage.safe_name(f"{video[0].video_id}.json")
        if name == output_folder.DOCUMENT:
            raise InputError(video[0].message(f"{name} is reserved for the export itself; give the video another id"))
        document = _document(video)
        content = json.dumps(document, ensure_ascii=False) + "\n"
        storage.write_bytes(storage.join(out, name), content.encode())
        counts["videos"] += 1
        counts["pairs"] += len(video)
        counts["masks"] += len(document["annotations"])
        counts["failed"] += sum(not pair.frames.num_rows for pair in video)
    return Exported(counts)


def _document(video: list[PairMasks]) -> dict:
    names = _file_names(video[0].row.get("video_uri"))
    images: dict[int, dict] = {}
    categories, annotations = [], []
    for number, pair in enumerate(video, start=1):
        name = f"{pair.expression_id}: {pair.row.get('expression') or ''}".rstrip(": ")
        categories.append({"id": number, "name": name})
        for row in pair.rows():
            index, name = row["frame_index"], row["frame_name"]
            file_name = f"frame_{index:06d}.jpg"
            if names is not None:
                file_name = pair.file_name(names.get(name, f"{name}.jpg"), name)
            image = {"id": index + 1, "file_name": file_name, "width": row["width"], "height": row["height"]}
            images.setdefault(index, image)
            mask = segmentation(pair, row)
            if mask is None:
                continue
            box, area = box_and_area(mask)
            ids = {"id": len(annotations) + 1, "image_id": index + 1, "category_id": number}
            shape = {"segmentation": mask, "bbox": box, "area": area, "iscrowd": 0, "score": row["score"]}
            annotations.append(ids | shape)
    return {
        "info": {"description": f"refervos: {video[0].video_id}"},
        "images": [images[index] for index in sorted(images)],
        "categories": categories,
        "annotations": annotations,
    }


def _file_names(video_uri: str | None) -> dict[str, str] | None:
    """Map frame names to file names for a folder of frames or an image; None for a video file.

    The map is empty if the video is unknown or cannot be listed.
    """
    if video_uri is None:
        return {}
    try:
        if storage.is_folder(video_uri):
            return list_frames(video_uri)
        if not storage.exists(video_uri):
            return {}
        file = storage.file_name(video_uri)
        return {file.rpartition(".")[0]: file} if is_image(video_uri) else None
    except (OSError, MediaError, InputError):
        return {}
