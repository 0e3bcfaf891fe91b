"""Masks as PNG files: label maps (DAVIS, YouTube-VOS), whose values are object ids, and binary masks.

In a label map 0 is background and 255 is void. The files written here have the same bytes each time.
"""

import io
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from pipeline.io import storage
from pipeline.video.picture import MAX_BYTES as MAX_IMAGE_BYTES
from pipeline.video.types import check_size
from schemas import rle
from schemas.errors import MediaError, StorageError
from schemas.masks import ANNOTATIONS, VOID

VOID_ID = 255
BINARY_MODES = ("P", "L", "1")


# The 256 colours of DAVIS and PASCAL VOC: bits of the index dealt to red, green and blue, highest first.
_BITS = np.arange(256)[:, None, None] >> (3 * np.arange(8)[:, None] + np.arange(3)) & 1  # [256, 8, 3]
DAVIS_PALETTE = (_BITS << (7 - np.arange(8)[:, None])).sum(1).astype(np.uint8).tobytes()


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


def read_mask(uri: str, content: bytes | None = None) -> np.ndarray:
    """Read object ids, uint8 [H, W], from `uri`, or from the PNG file `content` that `uri` names in errors.

    Raises MediaError unless it is an intact PNG with a palette or in gray, and StorageError if the storage fails.
    """
    image = _load_png(uri, content)
    if image.mode not in BINARY_MODES:
        raise MediaError(
            "corrupt", f"{uri}: mask of mode {image.mode}; needed is a palette PNG whose values are object ids"
        )
    return np.asarray(image).astype(np.uint8)


def read_binary_mask(uri: str) -> np.ndarray:
    """Read where a mask is not 0, bool [H, W]. Coloured masks, as a few of DAVIS 2016 are, count as well."""
    image = _load_png(uri)
    if image.mode not in BINARY_MODES:
        image = image.convert("RGB")  # drops alpha, which is opaque everywhere
    return np.asarray(np.atleast_3d(np.asarray(image)).any(2))


def _load_png(uri: str, content: bytes | None = None) -> Image.Image:
    try:
        if content is None:
            content = storage.read_bytes(uri, limit=MAX_IMAGE_BYTES)
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        check_size(image.width, image.height, uri)
        image.load()
    except (MediaError, StorageError):
        raise
    except Exception as error:  # damaged data makes Pillow raise many kinds
        reason: object = error
        if isinstance(error, UnidentifiedImageError):  # its own text names an object in memory
            reason = "not a PNG file, or truncated" if content else "the file is empty"
        raise MediaError("corrupt", f"{uri}: the mask cannot be read ({reason}); replace it") from error
    return image


class MaskRows:
    """ANNOTATIONS and VOID rows of one video, collected frame by frame."""

    def __init__(self, video_id: str, object_ids: Iterable[str]):
        self.video_id = video_id
        self.object_ids = set(object_ids)  # known beforehand; ids found in masks are added
        self._frames: list[tuple[dict, dict[str, bytes], bytes | None]] = []

    def add(self, index: int, name: str, mask: np.ndarray) -> None:
        """Add the label map of one annotated frame, uint8 [H, W]."""
        height, width = mask.shape
        frame = {"frame_index": index, "frame_name": name, "height": height, "width": width}
        counts = {str(value): rle.encode((mask == value)[None])[0] for value in np.unique(mask) if value}
        void = counts.pop(str(VOID_ID), None)
        self.object_ids |= counts.keys()
        self._frames.append((frame, counts, void))

    def found(self) -> set[str]:
        """Return the ids that occur in at least one mask."""
        return {object_id for _, counts, _ in self._frames for object_id in counts}

    def annotations(self) -> pa.Table:
        """Return one row for each object and annotated frame, with null counts where the object is absent."""
        ids = sorted(self.object_ids, key=lambda object_id: (len(object_id), object_id))
        rows = [
            {"video_id": self.video_id, "object_id": object_id, **frame, "counts": counts.get(object_id)}
            for object_id in ids
            for frame, counts, _ in self._frames
        ]
        return pa.Table.from_pylist(rows, schema=ANNOTATIONS)

    def void(self) -> pa.Table:
        """Return one row for each frame with void pixels."""
        rows = [{"video_id": self.video_id, **frame, "counts": void} for frame, _, void in self._frames if void]
        return pa.Table.from_pylist(rows, schema=VOID)
