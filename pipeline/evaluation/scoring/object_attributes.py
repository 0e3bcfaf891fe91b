"""Attributes of a pair's annotated masks: size, motion, disappearance, length, contact with the border."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline.evaluation.metrics import count_pixels
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame

MASK_ATTRIBUTES = {
    "object_size": "share of the frame that the object covers, mean over the frames that show it",
    "motion": "pixels that the centroid of the object moves per frame, mean over the steps between frames that show it",
    "disappears": "1 if the object is absent in any frame after the first that shows it, else 0",
    "track_length": "number of scored frames from the first to the last that shows the object",
    "touches_border": "among the frames that show the object, the share in which it touches the border",
}
SHAPE_ATTRIBUTES = tuple(MASK_ATTRIBUTES)[
    1:
]  # these need another pass over the masks; the first follows from the scores


def shape_attributes(tracks: Sequence[Sequence[MatchedFrame]], masks: MaskTable) -> list[list[float | None]]:
    """Return the attributes of each track, in the order of SHAPE_ATTRIBUTES; None where undefined."""
    frames = [frame for track in tracks for frame in track]
    shapes = count_pixels.describe_frames(*masks.strings(), *masks.truth_arrays(frames))
    index = np.array([frame.index for frame in frames], np.int64)
    bounds = np.cumsum([0, *map(len, tracks)]).tolist()
    return [track_attributes(shapes[start:stop], index[start:stop]) for start, stop in pairwise(bounds)]


def object_size(area: np.ndarray, pixels: np.ndarray) -> float | None:
    """Return the mean relative size over visible frames; None if no frame shows the object. area, pixels: int64 [N]."""
    visible = area > 0
    return float((area[visible] / pixels[visible]).mean()) if visible.any() else None


def track_attributes(shapes: np.ndarray, index: np.ndarray) -> list[float | None]:
    """Return SHAPE_ATTRIBUTES. shapes: int64 [N, 4] of `describe_frames`; index: frame_index, int64 [N]."""
    area = shapes[:, 0]
    visible = np.flatnonzero(area)
    if not len(visible):
        return [None] * len(SHAPE_ATTRIBUTES)
    first, last = visible[0], visible[-1]
    centroids = shapes[visible, 1:3] / area[visible, None]
    distances = np.hypot(*np.diff(centroids, axis=0).T) / np.diff(index[visible])
    return [
        float(distances.mean()) if len(distances) else None,
        float((area[first:] == 0).any()),
        float(last - first + 1),
        float((shapes[visible, 3] > 0).mean()),
    ]
