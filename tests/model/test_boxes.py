"""Boxes around masks, compared with pycocotools."""

import numpy as np
from pycocotools import mask as coco

from model.boxes import box_of, boxes_of


def test_boxes_are_those_of_pycocotools():
    masks = np.random.default_rng(0).random((20, 9, 13)) < 0.05
    masks[3] = False
    masks[4] = True
    wanted = [coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8)))) for mask in masks]
    assert np.array_equal(boxes_of(masks), np.array(wanted, np.float32))
    assert box_of(masks[3]) == (0, 0, 0, 0)
    assert boxes_of(masks[:0]).shape == (0, 4)
