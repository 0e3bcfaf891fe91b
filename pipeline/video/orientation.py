"""Turn and mirror pictures as players show them: by the display matrix of a video, by the EXIF data of an image.

Both have eight orientations: the picture or its transpose, each flipped in none, one or both directions. Pixels are
never resampled: a pixel aspect ratio other than 1 is ignored.
"""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.video.memory import raise_shortage


class Orientation(NamedTuple):
    """Transpose the picture first, then reverse its rows (`flip_rows`: upside down) and columns."""

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return `image` [H, W, C] in this orientation, contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        rows, columns = (slice(None, None, -1 if flip else None) for flip in (self.flip_rows, self.flip_columns))
        return np.ascontiguousarray(image[rows, columns])


UPRIGHT = Orientation()
_ORIENTATION_TAG = 0x0112
_EXIF = {  # the values of the tag (EXIF 2.32, 4.6.4)
    2: Orientation(False, False, True),
    3: Orientation(False, True, True),
    4: Orientation(False, True, False),
    5: Orientation(True, False, False),
    6: Orientation(True, False, True),
    7: Orientation(True, True, True),
    8: Orientation(True, True, False),
}


def of_matrix(matrix: bytes) -> Orientation | None:
    """Return the orientation of a display matrix of FFmpeg (3 x 3 int32); None if it turns by no right angle.

    A point (x, y) is shown at (a x + c y, b x + d y). Angles are rounded to a degree, and a matrix without area is
    ignored, as the program `ffmpeg` does.
    """
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    width, height = math.hypot(a, c), math.hypot(b, d)
    if not width or not height:
        return UPRIGHT
    degrees = round(math.degrees(math.atan2(b / height, a / width)))
    if degrees % 90:
        return None
    return Orientation(True, b < 0, c < 0) if degrees % 180 else Orientation(False, d < 0, a < 0)


def of_image(image: Image.Image) -> Orientation:
    """Return the orientation in the EXIF data of an opened image; damaged data is ignored, as viewers do."""
    for name in ("xmp", "XML:com.adobe.xmp"):  # Pillow would look there too, which players do not
        image.info.pop(name, None)
    return _EXIF.get(tag_of(image), UPRIGHT)


def tag_of(image: Image.Image) -> int:
    """Return the orientation in the EXIF data of an image, 1 to 8; 1 (upright) without one."""
    try:
        tag = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise_shortage(error)
        return 1
    return tag if tag in _EXIF else 1
