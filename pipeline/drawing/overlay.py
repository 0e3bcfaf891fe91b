"""Draw masks on frames, as outlines that leave the colours inside as they are; and many frames on one sheet."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from pipeline.drawing.captions import draw_caption

PREDICTED, TRUTH, EDGE = (255, 0, 170), (255, 255, 255), (0, 0, 0)
LINES_ACROSS = 240  # as many lines as wide as the longer side of an image: they survive shrinking
MARGIN, CAPTION = 4, 16  # pixels


def overlay(image: np.ndarray, predicted: np.ndarray | None, truth: np.ndarray | None = None) -> np.ndarray:
    """Copy `image`, uint8 [H, W, 3], and draw the masks, bool [H, W], on it as lines; None draws nothing.

    No mask is filled: sentences name colours, which the fill would change. The line of a prediction runs around the
    mask and hides none of it. The line of the truth runs within its mask, so both are seen where the masks are equal.
    Dark edges make them visible on any colour.
    """
    drawn = image.copy()
    width = max(2, round(max(image.shape[:2]) / LINES_ACROSS))
    edge = (width + 1) // 2
    around = None if predicted is None else _around(predicted, width)
    for lined, by in ((predicted, width + edge), (truth, edge)):
        if lined is not None:
            drawn[_around(lined, by)] = EDGE
    if predicted is not None:  # the dark edge of the truth hides nothing of what was predicted
        drawn[predicted] = image[predicted]
    if truth is not None:
        drawn[_within(truth, edge)] = TRUTH
    if around is not None:
        drawn[around] = PREDICTED
    return drawn


def _around(mask: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels at most `width` from a mask, bool [H, W], and those of the mask so near to the image's side."""
    inside = np.zeros_like(mask)
    inside[width:-width, width:-width] = mask[width:-width, width:-width]
    return _grown(mask, width) & ~inside


def _within(mask: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels of a mask at most `width` from its outside, bool [H, W]."""
    return mask & _grown(~np.pad(mask, width), width)[width:-width, width:-width]


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """Return a mask, bool [H, W], with what is at most `by` from it in rows and columns."""
    return ndimage.maximum_filter(mask, 2 * by + 1, mode="constant")


def shrunk(image: np.ndarray, limit: int) -> np.ndarray:
    """Shrink an image, uint8 [H, W, 3], to at most `limit` a side, then to even sides, as video codecs need them."""
    height, width = image.shape[:2]
    scale = limit / max(height, width)
    if scale >= 1:
        return image
    w, h = (max(2, round(side * scale) // 2 * 2) for side in (width, height))
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
