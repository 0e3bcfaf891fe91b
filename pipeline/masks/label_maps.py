"""Palette PNG masks (DAVIS, YouTube-VOS): the value of a pixel is the id of its object, 0 is background, 255 void."""

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


def read_mask(uri: str) -> np.ndarray:
    """Object ids, uint8 [H, W]. Raises MediaError unless it is a PNG with a palette or in gray, and sound."""
    return decode_mask(_read(uri), uri)


def decode_mask(content: bytes, uri: str) -> np.ndarray:
    """The mask in the PNG file `content`; `uri` names it in errors. Raises as `read_mask`."""
    image = _open(content, uri)
    if image.mode not in ("P", "L", "1"):
        raise MediaError(
            "corrupt", f"{uri}: mask of mode {image.mode}; needed is a palette PNG whose values are object ids"
        )
    return np.asarray(image).astype(np.uint8)


def read_binary_mask(uri: str) -> np.ndarray:
    """Where a mask of one object is anything but 0, bool [H, W]. Colours (a few of DAVIS 2016) count as well."""
    image = _open(_read(uri), uri)
    if image.mode not in ("P", "L", "1"):
        image = image.convert("RGB")  # without alpha, which is full where it is there at all
    pixels = np.atleast_3d(np.asarray(image))
    return np.asarray(pixels.any(2))


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri, limit=MAX_IMAGE_BYTES)
    except Exception as error:
        raise _unreadable(uri, error) from error


def _open(content: bytes, uri: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content), formats=("PNG",))
        check_size(image.width, image.height, uri)
        image.load()
    except MediaError:
        raise
    except UnidentifiedImageError as error:  # whose text is about an object in memory
        raise _unreadable(uri, "it is no PNG file, or a part of one" if content else "the file is empty") from error
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise _unreadable(uri, error) from error
    return image


def _unreadable(uri: str, error: object) -> MediaError:
    return MediaError("corrupt", f"{uri}: the mask cannot be read ({error}); replace it")


class MaskRows:
    """ANNOTATIONS and VOID rows of one video, gathered frame by frame."""

    def __init__(self, video_id: str, object_ids: Iterable[str]):
        self.video_id = video_id
        self.object_ids = set(object_ids)  # known beforehand; those found in masks join them
        self._frames: list[tuple[dict, dict[str, bytes], bytes | None]] = []

    def add(self, index: int, name: str, mask: np.ndarray) -> None:
        """Take the mask of one annotated frame, uint8 [H, W] object ids."""
        height, width = mask.shape
        frame = {"frame_index": index, "frame_name": name, "height": height, "width": width}
        counts = {str(value): rle.encode((mask == value)[None])[0] for value in np.unique(mask) if value}
        void = counts.pop(str(VOID_ID), None)
        self.object_ids |= counts.keys()
        self._frames.append((frame, counts, void))

    def found(self) -> set[str]:
        """Ids that occur in at least one mask."""
        return {object_id for _, counts, _ in self._frames for object_id in counts}

    def annotations(self) -> pa.Table:
        """One row for each object and annotated frame, null counts where the object is absent."""
        ids = sorted(self.object_ids, key=lambda object_id: (len(object_id), object_id))
        rows = [
            {"video_id": self.video_id, "object_id": object_id, **frame, "counts": counts.get(object_id)}
            for object_id in ids
            for frame, counts, _ in self._frames
        ]
        return pa.Table.from_pylist(rows, schema=ANNOTATIONS)

    def void(self) -> pa.Table:
        """One row for each frame that has void pixels."""
        rows = [{"video_id": self.video_id, **frame, "counts": void} for frame, _, void in self._frames if void]
        return pa.Table.from_pylist(rows, schema=VOID)
