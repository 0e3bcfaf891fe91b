"""Pictures within a page: frames made small, with masks at their size, as JPEGs in data URIs."""

import base64
import io

import numpy as np
from PIL import Image

SIZE = (320, 240)  # pixels that a frame is fitted into
QUALITY = 72
PLAIN = (58, 66, 78)  # where the video cannot be read


def small(image: np.ndarray) -> np.ndarray:
    """A frame, uint8 [H, W, 3], within SIZE."""
    size = _fit(image.shape[1], image.shape[0])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def plain(height: int, width: int) -> np.ndarray:
    """In place of a small frame, where that cannot be had."""
    width, height = _fit(width, height)
    return np.full((height, width, 3), PLAIN, np.uint8)


def small_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """A mask, bool [H, W], at the size of a small `image`."""
    size = image.shape[1], image.shape[0]
    shrunk = Image.fromarray(np.ascontiguousarray(mask).view(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(shrunk) >= 128


def data_uri(image: np.ndarray) -> str:
    """A picture, uint8 [H, W, 3], as the address of an `img`."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _fit(width: int, height: int) -> tuple[int, int]:
    """Width and height within SIZE, never enlarged."""
    scale = min(1.0, SIZE[0] / width, SIZE[1] / height)
    return max(1, round(width * scale)), max(1, round(height * scale))
