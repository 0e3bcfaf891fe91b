"""Boxes around masks."""

from typing import Any

import numpy as np
from scipy import ndimage


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Return x, y, width and height of the smallest box around a mask, bool [H, W]; zeros if it is empty."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    if not len(rows):
        return 0, 0, 0, 0
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the boxes around masks, bool [K, H, W] -> float32 [K, 4], each as `box_of`."""
    return np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)


def main_boxes_of(masks: np.ndarray) -> np.ndarray:
    """Return the boxes around the largest piece of each mask, as `boxes_of`; of equal pieces, the first by columns.

    Pixels that touch at a corner belong together. A stray pixel far from the object moves its box, but not this one.
    """
    return boxes_of(np.array([_main_piece(mask) for mask in masks], bool).reshape(masks.shape))


def _main_piece(mask: np.ndarray) -> np.ndarray:
    labelled: Any = ndimage.label(mask.T, np.ones((3, 3)))
    pieces, count = labelled
    if count < 2:
        return mask
    largest = 1 + np.bincount(pieces.ravel())[1:].argmax()
    return largest == pieces.T
