"""Objects that the DAVIS evaluation counts although no frame shows them.

It takes the highest label of the first annotated frame for the number of objects. A label below it that occurs in no
frame is an object that is absent throughout, for which nothing should be predicted.
"""

from collections.abc import Sequence

import pyarrow as pa

from pipeline.masks.pairs_to_score import RequestedPair
from schemas import rle


def first_frame_objects(truth: pa.Table) -> dict[str, set[str]]:
    """Return the ids of the objects in the first annotated frame of each video. truth: rows of ANNOTATIONS."""
    shown: dict[str, tuple[int, set[str]]] = {}
    for row in truth.select(["video_id", "object_id", "frame_index", "height", "width", "counts"]).to_pylist():
        first, objects = shown.get(row["video_id"], (row["frame_index"], set()))
        if row["frame_index"] < first:
            first, objects = row["frame_index"], set()
        if row["frame_index"] == first and row["counts"] and row["counts"] != rle.empty(row["height"], row["width"]):
            objects.add(row["object_id"])
        shown[row["video_id"]] = first, objects
    return {video: objects for video, (_, objects) in shown.items()}


def gap_pairs(pairs: Sequence[RequestedPair], truth: pa.Table) -> list[RequestedPair]:
    """Return a pair for each object that is missing, for each annotator that has pairs of its video."""
    annotated: dict[str, set[str]] = {}
    for video, object_id in zip(truth["video_id"].to_pylist(), truth["object_id"].to_pylist(), strict=True):
        annotated.setdefault(video, set()).add(object_id)
    firsts = first_frame_objects(truth)
    groups: dict[tuple[str, str | None], RequestedPair] = {}
    for pair in pairs:
        groups.setdefault((pair.video_id, pair.annotator), pair)
    requested = {(pair.video_id, object_id) for pair in pairs for object_id in pair.annotation_keys}
    found = []
    for (video, annotator), pair in groups.items():
        shown = firsts.get(video, set())
        highest = max(map(int, shown), default=0) if all(map(str.isdecimal, annotated.get(video, ()))) else 0
        gaps = {str(number) for number in range(1, highest)} - annotated.get(video, set())
        for object_id in sorted(gaps, key=int):
            if (video, object_id) not in requested:
                by_object = pair.expression_id is None
                row = -1 - len(found)
                found.append(RequestedPair.of_gap(row, video, object_id, annotator, pair.frames, by_object=by_object))
    return found
