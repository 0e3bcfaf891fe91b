"""Masks as PNG files, the same bytes each time."""

import io

import numpy as np
from PIL import Image


def _davis_palette() -> bytes:
    """256 colours of DAVIS and PASCAL VOC: the bits of the index go to red, green and blue in turn, highest first."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


DAVIS_PALETTE = _davis_palette()


def binary_png(mask: np.ndarray) -> bytes:
    """Encode `mask`, bool [H, W], in 8-bit gray: 0 and 255."""
    return png_bytes(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))


def palette_png(ids: np.ndarray) -> bytes:
    """Encode object ids, uint8 [H, W], with the palette of DAVIS."""
    image = Image.fromarray(ids, "P")
    image.putpalette(DAVIS_PALETTE)
    return png_bytes(image)


def png_bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
