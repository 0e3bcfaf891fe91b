"""Count the pixels behind J and F of each frame, directly from the RLE strings.

Definitions: `db_eval_iou` and `db_eval_boundary` of the DAVIS 2017 evaluation. `bit_canvas` has the compiled code.
"""

import numpy as np

from pipeline.evaluation.metrics import bit_canvas
from pipeline.evaluation.metrics.count_columns import COUNT_COLUMNS
from pipeline.masks.compile_numba import call


def score_frames(
    strings: np.ndarray,
    starts: np.ndarray,
    truth_first: np.ndarray,
    truth_rows: np.ndarray,
    prediction_rows: np.ndarray,
    void_rows: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Score N frames; frame n is the union of the truth strings `truth_rows[truth_first[n]:truth_first[n + 1]]` (none:
    an empty mask) against the string `prediction_rows[n]` (-1: an empty mask), with the pixels of the string
    `void_rows[n]` (-1: none) set to background in both.

    strings: uint8, all strings end to end; string s is `strings[starts[s]:starts[s + 1]]`. Indices, heights and widths
    are int64; sizes must lie within `schemas.rle.MAX_SIDE`.

    Returns (counts int64 [N, 7]: inter, union, boundary pixels of truth and prediction, how many of each are matched,
    and predicted pixels; errors int64 [N]: OK, or which side has a corrupt string, which makes the counts meaningless).
    """
    counts = np.zeros((len(heights), len(COUNT_COLUMNS)), np.int64)
    errors = np.zeros(len(heights), np.int64)
    box = np.zeros(4, np.int64)
    rows = (truth_first, truth_rows, prediction_rows, void_rows)
    call(bit_canvas.count_frames, strings, starts, *rows, heights, widths, box, counts, errors)
    return counts, errors


def describe_frames(
    strings: np.ndarray,
    starts: np.ndarray,
    truth_first: np.ndarray,
    truth_rows: np.ndarray,
    heights: np.ndarray,
    widths: np.ndarray,
) -> np.ndarray:
    """Measure the shape of the truth of each frame; parameters as of `score_frames`.

    Returns int64 [N, 4]: area, sum of the row numbers and of the column numbers of its pixels, pixels on the border.
    """
    shapes = np.zeros((len(heights), 4), np.int64)
    box = np.zeros(4, np.int64)
    call(bit_canvas.describe_frames, strings, starts, truth_first, truth_rows, heights, widths, box, shapes)
    return shapes
