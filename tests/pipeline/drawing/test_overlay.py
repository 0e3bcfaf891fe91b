"""Masks are drawn as colour, truth as an outline, and every frame is on the sheet."""

import numpy as np

from pipeline.drawing.overlay import CAPTION, MARGIN, PREDICTED, TRUTH, contact_sheet, overlay


def test_overlay_outlines_both_and_leaves_the_colours_of_the_mask_visible():
    image = np.full((6, 8, 3), 100, np.uint8)
    predicted, truth = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    predicted[:3, :3] = True
    truth[3:6, 2:7] = True
    drawn = overlay(image, predicted, truth)
    assert drawn[1, 1].tolist() == [138, 75, 117]  # a quarter of pink
    assert (drawn[0, :3] == PREDICTED).all()
    assert (drawn[3, 2:7] == TRUTH).all()
    assert (drawn[4, 3:6] == 100).all()
    assert (image == 100).all()
    assert np.array_equal(overlay(image, None), image)


def test_contact_sheet_holds_rows_of_any_length():
    frames = [np.full((10, 20, 3), value, np.uint8) for value in (50, 60, 70)]
    sheet = np.asarray(contact_sheet([("one", frames[:1]), ("three", frames)]))
    assert sheet.shape == (2 * (CAPTION + 10 + MARGIN), 3 * (20 + MARGIN) + MARGIN, 3)
    assert (sheet[CAPTION, MARGIN] == 50).all()
    assert (sheet[-MARGIN - 1, -MARGIN - 1] == 70).all()
