"""Masks as PNG files: label maps (DAVIS, YouTube-VOS), whose values are object ids, and binary masks.

In a label map 0 is background and 255 is void. The files written here have the same bytes each time.
"""

import io
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from pipeline.io import storage
from pipeline.video.folder import MAX_IMAGE_BYTES
from pipeline.video.types import check_size
from schemas import rle
from schemas.errors import MediaError
from schemas.masks import ANNOTATIONS, VOID

VOID_ID = 255
BINARY_MODES = ("P", "L", "1")


def _davis_palette() -> bytes:
    """Return the 256 colours of DAVIS and PASCAL VOC: bits of the index dealt to red, green and blue, highest first."""
    index = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


DAVIS_PALETTE = _davis_palette()


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


def read_mask(uri: str) -> np.ndarray:
    """Read object ids, uint8 [H, W]. Raises MediaError unless it is an intact PNG with a palette or in gray."""
    return decode_mask(_read(uri), uri)


def decode_mask(content: bytes, uri: str) -> np.ndarray:
    """Decode the PNG file `content`; `uri` names it in errors. Raises as `read_mask`."""
    image = _decode(content, uri)
    if image.mode not in BINARY_MODES:
        raise MediaError(
            "corrupt", f"{uri}: mask of mode {image.mode}; needed is a palette PNG whose values are object ids"
        )
    return np.asarray(image).astype(np.uint8)


def read_binary_mask(uri: str) -> np.ndarray:
    """Read where a mask is not 0, bool [H, W]. Coloured masks, as a few of DAVIS 2016 are, count as well."""
    image = _decode(_read(uri), uri)
    if image.mode not in BINARY_MODES:
        image = image.convert("RGB")  # drops alpha, which is opaque everywhere
    return np.asarray(np.atleast_3d(np.asarray(image)).any(2))


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri, limit=MAX_IMAGE_BYTES)
    except Exception as error:
        raise _unreadable(uri, error) from error


def _decode(content: bytes, uri: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        check_size(image.width, image.height, uri)
        image.load()
    except MediaError:
        raise
    except UnidentifiedImageError as error:  # its own text names an object in memory
        raise _unreadable(uri, "not a PNG file, or truncated" if content else "the file is empty") from error
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise _unreadable(uri, error) from error
    return image


def _unreadable(uri: str, error: object) -> MediaError:
    return MediaError("corrupt", f"{uri}: the mask cannot be read ({error}); replace it")


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
