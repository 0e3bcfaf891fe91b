"""Boxes around masks, compared with pycocotools, and around their largest pieces."""

import numpy as np
from pycocotools import mask as coco

from model.boxes import box_of, boxes_of, main_boxes_of


def test_boxes_are_those_of_pycocotools():
    masks = np.random.default_rng(0).random((20, 9, 13)) < 0.05
    masks[3] = False
    masks[4] = True
    wanted = [coco.toBbox(coco.encode(np.asfortranarray(mask.astype(np.uint8)))) for mask in masks]
    assert np.array_equal(boxes_of(masks), np.array(wanted, np.float32))
    assert box_of(masks[3]) == (0, 0, 0, 0)
    assert boxes_of(masks[:0]).shape == (0, 4)


def test_stray_pixels_do_not_move_the_box_of_the_largest_piece():
    masks = np.zeros((4, 9, 13), bool)
    masks[0, 2:5, 3:7] = masks[0, 5, 7] = True  # which touches a corner
    masks[1] = masks[0]
    masks[1, 8, 12] = masks[1, 0, 0] = masks[1, 0:2, 11] = True
    masks[2, 0:2, 9:11] = masks[2, 6:8, 1:3] = True  # equal pieces
    assert main_boxes_of(masks).tolist() == [[3, 2, 5, 4], [3, 2, 5, 4], [1, 6, 2, 2], [0, 0, 0, 0]]
    assert main_boxes_of(masks[:0]).shape == (0, 4)
    assert np.array_equal(main_boxes_of(np.asfortranarray(masks[:1])), boxes_of(masks[:1]))
