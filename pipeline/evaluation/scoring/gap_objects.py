"""Objects that the DAVIS evaluation counts although no frame shows them.

It takes the highest label of the first annotated frame for the number of objects. A label below it that occurs in no
frame is an object that is absent throughout, for which nothing should be predicted.
"""

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from pipeline.masks.label_numbers import are_labels
from pipeline.masks.pairs_to_score import RequestedPair
from schemas import rle


def first_frame_objects(truth: pa.Table) -> dict[str, set[str]]:
    """Return the ids of the objects in the first annotated frame of each video. truth: rows of ANNOTATIONS."""
    shown: dict[str, tuple[int, set[str]]] = {}
    for row in truth.select(["video_id", "object_id", "frame_index", "height", "width", "counts"]).to_pylist():
        first, objects = shown.get(row["video_id"], (row["frame_index"], set()))
        if row["frame_index"] < first:
            first, objects = row["frame_index"], set()
        if row["frame_index"] == first and _is_shown(row):
            objects.add(row["object_id"])
        shown[row["video_id"]] = first, objects
    return {video: objects for video, (_, objects) in shown.items()}


def _is_shown(row: dict) -> bool:
    """Return True for a mask that is not empty, and for one of an absurd size, which scoring names."""
    try:
        return bool(row["counts"]) and row["counts"] != rle.empty(row["height"], row["width"])
    except rle.RleError:
        return True


def with_gap_pairs(pairs: Sequence[RequestedPair], truth: pa.Table) -> list[RequestedPair]:
    """Return the pairs, with one for each object that is missing and each annotator that has pairs of its video.

    A pair that asks for such an object is marked as one of it.
    """
    gaps = _gaps(truth)
    marked = [replace(pair, is_gap=True) if pair.object_id in gaps.get(pair.video_id, ()) else pair for pair in pairs]
    groups: dict[tuple[str, str | None], list[RequestedPair]] = {}
    for pair in pairs:
        groups.setdefault((pair.video_id, pair.annotator), []).append(pair)
    added = []
    for (video, annotator), group in groups.items():
        requested = {object_id for pair in group for object_id in pair.annotation_keys}
        by_object = group[0].expression_id is None
        for object_id in sorted(gaps.get(video, set()) - requested, key=int):
            row, frames = -1 - len(added), group[0].frames
            added.append(RequestedPair.of_gap(row, video, object_id, annotator, frames, by_object=by_object))
    return marked + added


def _gaps(truth: pa.Table) -> dict[str, set[str]]:
    """Return the ids below the highest one in the first frame that no frame shows, of videos whose ids are numbers."""
    annotated: dict[str, set[str]] = {}
    for video, object_id in zip(truth["video_id"].to_pylist(), truth["object_id"].to_pylist(), strict=True):
        annotated.setdefault(video, set()).add(object_id)
    firsts = first_frame_objects(truth)
    return {
        video: {str(number) for number in range(1, max(map(int, firsts[video]), default=0))} - ids
        for video, ids in annotated.items()
        if are_labels(ids)
    }
