"""Boxes around masks."""

import numpy as np


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
