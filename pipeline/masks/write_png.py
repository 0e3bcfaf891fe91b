"""Write masks as PNG files: label maps (DAVIS, YouTube-VOS), whose values are object ids, and binary masks.

Files have the same bytes each time.
"""

import io

import numpy as np
from PIL import Image

from pipeline.masks.png_file import DAVIS_PALETTE


def binary_png(mask: np.ndarray) -> bytes:
    """Encode a mask, bool [H, W], as an 8-bit gray PNG with 0 and 255."""
    return png_bytes(Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))))


def palette_png(ids: np.ndarray) -> bytes:
    """Encode object ids, uint8 [H, W], as a PNG with the palette of DAVIS."""
    image = Image.fromarray(ids, "P")
    image.putpalette(DAVIS_PALETTE)
    return png_bytes(image)


def png_bytes(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
