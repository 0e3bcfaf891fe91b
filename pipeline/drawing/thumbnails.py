"""Small frames for pages, with masks at their size, as JPEGs in data URIs."""

import base64
import io

import numpy as np
from PIL import Image

MAX_WIDTH, MAX_HEIGHT = 320, 240  # pixels
JPEG_QUALITY = 72
BLANK = (58, 66, 78)  # colour of a frame that cannot be read


def shrink(image: np.ndarray) -> np.ndarray:
    """Shrink a frame, uint8 [H, W, 3], to MAX_WIDTH x MAX_HEIGHT; a smaller one keeps its size."""
    size = _small_size(*image.shape[:2])
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def blank_frame(height: int, width: int) -> np.ndarray:
    """Return a small frame, uint8 [h, w, 3], in place of one of that size that cannot be read."""
    small_width, small_height = _small_size(height, width)
    return np.full((small_height, small_width, 3), BLANK, np.uint8)


def _small_size(height: int, width: int) -> tuple[int, int]:
    """Return width and height of the small frame of a frame."""
    scale = min(1.0, MAX_WIDTH / width, MAX_HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrink_mask(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Shrink a mask, bool [H, W], to the size of the small frame `image`."""
    size = image.shape[1], image.shape[0]
    shrunk = Image.fromarray(np.ascontiguousarray(mask).view(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    return np.asarray(shrunk) >= 128


def data_uri(image: np.ndarray) -> str:
    """Encode an image, uint8 [H, W, 3], as the address of an `img` element."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
