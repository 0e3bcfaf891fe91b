"""What the true masks of a pair look like, as attributes: size, motion, disappearance, length, touching the border."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from pipeline.evaluation.metrics import kernel
from pipeline.evaluation.scoring.match_frames import MaskTable, MatchedFrame
from pipeline.evaluation.scoring.pixel_counts import buffers

VISUAL = {
    "object_size": "area of the true mask over that of the frame, mean over the frames where it is visible",
    "motion": "distance that the centroid moves per frame, in pixels, mean over steps between visible frames",
    "disappears": "1 if the object is gone in a frame after it was visible, else 0",
    "track_length": "frames from the first to the last in which it is visible",
    "touches_border": "share of the frames where it is visible in which it reaches the frame's border",
}
DESCRIBED = tuple(VISUAL)[1:]  # those for which masks are looked at once more; the first comes with the scores


def visual_attributes(tracks: Sequence[Sequence[MatchedFrame]], masks: MaskTable) -> list[list[float | None]]:
    """The attributes of each track, in the order of DESCRIBED; None where they have no meaning."""
    frames = [frame for track in tracks for frame in track]
    truth = [[row for row in frame.truth if masks.present[row]] for frame in frames]
    sizes = np.array([frame.size for frame in frames], np.int64).reshape(-1, 2)
    shapes = kernel.describe_frames(
        *buffers(masks.counts),
        np.cumsum([0, *(len(rows) for rows in truth)], dtype=np.int64),
        np.array([row for rows in truth for row in rows], np.int64),
        sizes[:, 0].copy(),
        sizes[:, 1].copy(),
    )
    index = np.array([frame.index for frame in frames], np.int64)
    bounds = np.cumsum([0, *map(len, tracks)])
    return [_attributes(shapes[start:stop], index[start:stop]) for start, stop in pairwise(bounds.tolist())]


def object_size(area: np.ndarray, pixels: np.ndarray) -> float | None:
    """Of areas and frame sizes, int64 [N]; None if it is never visible."""
    visible = area > 0
    return float((area[visible] / pixels[visible]).mean()) if visible.any() else None


def _attributes(shapes: np.ndarray, index: np.ndarray) -> list[float | None]:
    """shapes int64 [N, 4]: area, sums of rows and of columns, pixels on the border."""
    area = shapes[:, 0]
    visible = np.flatnonzero(area)
    if not len(visible):
        return [None] * len(DESCRIBED)
    first, last = visible[0], visible[-1]
    centroids = shapes[visible, 1:3] / area[visible, None]
    steps = np.diff(index[visible])
    moved = np.hypot(*np.diff(centroids, axis=0).T) / steps
    return [
        float(moved.mean()) if len(moved) else None,
        float((area[first:] == 0).any()),
        float(last - first + 1),
        float((shapes[visible, 3] > 0).mean()),
    ]
