"""Draw masks on frames: predictions as a colour, truth as an outline; and many frames on one sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from pipeline.drawing.captions import draw_caption

PREDICTED, TRUTH = (255, 0, 170), (255, 255, 255)
FILL = 0.25  # share of the colour in the fill of a prediction
MARGIN, CAPTION = 4, 16  # pixels


def overlay(image: np.ndarray, predicted: np.ndarray | None, truth: np.ndarray | None = None) -> np.ndarray:
    """Copy `image`, uint8 [H, W, 3], and draw the masks, bool [H, W], on it; None draws nothing.

    A prediction is a contour and a light fill, under which one still sees the colour that the sentence names.
    """
    drawn = image.copy()
    if predicted is not None:
        fill = np.array(PREDICTED) * FILL + drawn[predicted] * (1 - FILL)
        drawn[predicted] = fill.astype(np.uint8)
        drawn[_contour(predicted)] = PREDICTED
    if truth is not None:
        drawn[_contour(truth)] = TRUTH
    return drawn


def _contour(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that have a neighbour outside of it, bool [H, W]."""
    padded = np.pad(mask, 1)
    return mask & ~(padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:])


def shrunk(image: np.ndarray, limit: int) -> np.ndarray:
    """Shrink an image to at most `limit` a side, and to even sides, as video codecs need them."""
    height, width = image.shape[:2]
    scale = min(1.0, limit / max(height, width))
    w, h = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
    if (h, w) == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.BOX))


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Image.Image:
    """Put frames on one sheet: a row for each (caption, frames uint8 [H, W, 3]), the frames next to each other."""
    width = max(sum(frame.shape[1] + MARGIN for frame in frames) for _, frames in rows) + MARGIN
    height = sum(CAPTION + frames[0].shape[0] + MARGIN for _, frames in rows)
    sheet = Image.new("RGB", (width, height), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    top = 0
    for caption, frames in rows:
        draw_caption(draw, (MARGIN, top + 2), caption, width - 2 * MARGIN)
        left = MARGIN
        for frame in frames:
            sheet.paste(Image.fromarray(frame), (left, top + CAPTION))
            left += frame.shape[1] + MARGIN
        top += CAPTION + frames[0].shape[0] + MARGIN
    return sheet
