"""Draw masks on frames: predictions as a colour, truth as an outline; and many frames on one sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

PREDICTED, TRUTH = (255, 0, 170), (255, 255, 255)
MARGIN, CAPTION = 4, 16  # pixels


def overlay(image: np.ndarray, predicted: np.ndarray | None, truth: np.ndarray | None = None) -> np.ndarray:
    """Copy `image`, uint8 [H, W, 3], and draw the masks, bool [H, W], on it; None draws nothing."""
    drawn = image.copy()
    if predicted is not None:
        drawn[predicted] = drawn[predicted] // 2 + np.array(PREDICTED, np.uint8) // 2
    if truth is not None:
        padded = np.pad(truth, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        drawn[truth & ~inside] = TRUTH
    return drawn


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]]) -> Image.Image:
    """Put frames on one sheet: a row for each (caption, frames uint8 [H, W, 3]), the frames next to each other."""
    width = max(sum(frame.shape[1] + MARGIN for frame in frames) for _, frames in rows) + MARGIN
    height = sum(CAPTION + frames[0].shape[0] + MARGIN for _, frames in rows)
    sheet = Image.new("RGB", (width, height), (24, 24, 24))
    draw = ImageDraw.Draw(sheet)
    top = 0
    for caption, frames in rows:
        draw.text((MARGIN, top + 2), caption, fill=(230, 230, 230))
        left = MARGIN
        for frame in frames:
            sheet.paste(Image.fromarray(frame), (left, top + CAPTION))
            left += frame.shape[1] + MARGIN
        top += CAPTION + frames[0].shape[0] + MARGIN
    return sheet
