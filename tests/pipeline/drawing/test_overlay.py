"""Masks are drawn as outlines that change no colour inside, and every frame is on the sheet."""

import numpy as np
import pytest

from pipeline.drawing.overlay import CAPTION, MARGIN, PREDICTED, TRUTH, contact_sheet, overlay, shrunk


def square(top: int, bottom: int, side: int = 40) -> np.ndarray:
    mask = np.zeros((side, side), bool)
    mask[top:bottom, top:bottom] = True
    return mask


def pixels_of(drawn: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (drawn == colour).all(-1)


def test_a_prediction_keeps_every_pixel_of_its_mask():
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    before, mask = image.copy(), square(10, 25)
    mask[12:14, 12:14] = False  # a hole
    drawn = overlay(image, mask)
    assert (drawn[mask] == image[mask]).all()
    assert pixels_of(drawn, PREDICTED)[8:10, 8:27].all()
    assert pixels_of(drawn, PREDICTED)[12:14, 12:14].all()
    assert np.array_equal(drawn[~square(7, 28)], image[~square(7, 28)])
    assert np.array_equal(image, before)
    assert np.array_equal(overlay(image, None), image)


@pytest.mark.parametrize("colour", [PREDICTED, TRUTH, (0, 0, 0), (255, 255, 255), (127, 127, 127)])
def test_lines_are_seen_on_every_colour(colour):
    image = np.full((40, 40, 3), colour, np.uint8)
    for masks in ((square(10, 25), None), (None, square(10, 25)), (square(10, 25), square(10, 25))):
        assert np.unique(overlay(image, *masks).reshape(-1, 3), axis=0).shape[0] > 1


def test_both_lines_are_seen_where_the_masks_are_equal():
    drawn = overlay(np.full((40, 40, 3), 100, np.uint8), square(10, 25), square(10, 25))
    assert np.array_equal(pixels_of(drawn, PREDICTED), square(8, 27) & ~square(10, 25))
    assert np.array_equal(pixels_of(drawn, TRUTH), square(10, 25) & ~square(11, 24))
    assert (drawn[square(11, 24)] == 100).all()


@pytest.mark.parametrize("shape", [(40, 40), (1, 1), (3, 50), (2, 2)])
def test_a_mask_of_the_whole_frame_has_a_line(shape):
    drawn = overlay(np.full((*shape, 3), 100, np.uint8), np.ones(shape, bool))
    assert pixels_of(drawn, PREDICTED)[0].all()
    assert pixels_of(drawn, PREDICTED)[-1].all()
    assert not pixels_of(drawn, PREDICTED)[2:-2, 2:-2].any()
    assert (overlay(np.full((*shape, 3), 100, np.uint8), np.zeros(shape, bool)) == 100).all()


@pytest.mark.parametrize("sizes", [(360,), (640, 240)])
def test_lines_on_large_frames_survive_shrinking(sizes):
    mask = np.zeros((1080, 1920), bool)
    mask[300:700, 500:900] = True
    drawn = overlay(np.full((1080, 1920, 3), 100, np.uint8), mask)
    for size in sizes:
        drawn = shrunk(drawn, size)
    distance = np.abs(drawn.astype(int) - PREDICTED).max(-1)
    assert (distance < 100).sum() > 4 * 400 * sizes[-1] / 1920 * 0.8


@pytest.mark.parametrize("row", range(50, 60))
def test_a_wide_line_is_whole_near_the_side(row):
    mask = np.zeros((60, 1920), bool)
    mask[row, 100] = True
    line = pixels_of(overlay(np.full((60, 1920, 3), 100, np.uint8), mask), PREDICTED)
    assert (line | mask)[row - 8 : row + 9, 92:109].all()


def test_shrunk_leaves_small_frames_of_odd_sides():
    assert shrunk(np.zeros((31, 63, 3), np.uint8), 63).shape == (31, 63, 3)
    assert shrunk(np.zeros((31, 63, 3), np.uint8), 61).shape == (30, 60, 3)


def test_contact_sheet_holds_rows_of_any_length():
    frames = [np.full((10, 20, 3), value, np.uint8) for value in (50, 60, 70)]
    sheet = np.asarray(contact_sheet([("one", frames[:1]), ("three", frames)]))
    assert sheet.shape == (2 * (CAPTION + 10 + MARGIN), 3 * (20 + MARGIN) + MARGIN, 3)
    assert (sheet[CAPTION, MARGIN] == 50).all()
    assert (sheet[-MARGIN - 1, -MARGIN - 1] == 70).all()
