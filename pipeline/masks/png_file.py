"""Read the values of one PNG mask, whatever pixel format it has."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.io import storage
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from pipeline.masks.value_groups import MOST_SMALL_IDS, VOID_ID
from pipeline.video.memory import raise_shortage
from pipeline.video.picture import open_image
from pipeline.video.picture_parts import MAX_BYTES as MAX_IMAGE_BYTES
from pipeline.video.types import check_size
from schemas.errors import MediaError, StorageError

# The 256 colours of DAVIS and PASCAL VOC: bits of the index dealt to red, green and blue, highest first.
_BITS = np.arange(256)[:, None, None] >> (3 * np.arange(8)[:, None] + np.arange(3)) & 1  # [256, 8, 3]
PALETTE_COLOURS = (_BITS << (7 - np.arange(8)[:, None])).sum(1)  # [256, 3]
DAVIS_PALETTE = PALETTE_COLOURS.astype(np.uint8).tobytes()
_CODES = PALETTE_COLOURS @ [65536, 256, 1]
_IDS = np.argsort(_CODES)
_DAVIS_IDS = {int(_CODES[i]): i for i in (*range(MOST_SMALL_IDS + 1), VOID_ID)}  # those in use, by colour

PALETTE, GRAY, DAVIS_COLOURS = "palette images", "8-bit gray", "colours of the DAVIS palette"
SORTED_PALETTE = "palette images, any colour but black taken as foreground"
MOST_SHADES = 256  # of a soft mask in one colour
SAVE_IDS = "save object ids as gray PNG, or with the whole DAVIS palette"
JPEG = b"\xff\xd8\xff"
SAVE_AS_PNG = "save all masks as PNG from the beginning, which keeps every value (JPEG does not)"
_SCALES = {2: 85, 4: 17}  # by which Pillow multiplies gray of so many bits


class PngMask(NamedTuple):
    """The values of a mask, uint8 or uint16 [H, W], and its pixel format in words."""

    values: np.ndarray
    pixel_format: str


class ColourError(MediaError):
    """The colours of a mask have no meaning."""


def read_png(uri: str, content: bytes | None = None, *, binary: bool = False) -> PngMask:
    """Read a mask from `uri`, or from the PNG file `content` that `uri` names in errors.

    Palette images keep their indices (see `_from_colour_palette` for changed palettes), gray images their values, with
    1, 2, 4, 8 or 16 bits. A palette of gray values in their order is gray; so is a palette that shows 0 as white and
    255 as black, if there are no other values; with `binary`, so is any palette of gray. An image in colours is gray if
    its planes are equal; the colours of the DAVIS palette are its indices; with `binary`, 255 stands for any colour but
    black. Raises MediaError if the file is damaged, ColourError for colours or palettes that say no ids and for
    transparent pixels, and StorageError if the storage fails.
    """
    if content is None:
        try:
            content = storage.read_bytes(uri, limit=MAX_IMAGE_BYTES)
        except StorageError:
            raise
        except OSError as error:
            raise MediaError("corrupt", f"{uri}: the mask cannot be read ({error}); replace it") from error
    image = _load(uri, content)
    bits = content[24]
    if image.mode == "P":
        return _from_palette(uri, image, binary)
    if image.mode in ("1", "L"):
        values: np.ndarray = np.asarray(image).astype(np.uint8, copy=False)
        if bits in _SCALES:
            values = np.asarray(values // _SCALES[bits])
        return PngMask(np.asarray(values), f"{bits}-bit gray")
    if image.mode.startswith("I"):
        return PngMask(np.asarray(image).astype(np.uint16), f"{bits}-bit gray")
    return _from_colours(uri, image, binary)


def _load(uri: str, content: bytes) -> Image.Image:
    try:
        image = open_image(io.BytesIO(content), ("PNG",))
        check_size(image.width, image.height, uri)
        image.load()
        if (count := getattr(image, "n_frames", 1)) > 1:
            raise MediaError("corrupt", f"{uri}: an animation of {count} images is not a mask; save one PNG per frame")
    except MediaError:
        raise
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise_shortage(error)
        reason: object = error
        if isinstance(error, UnidentifiedImageError):  # its own text names an object in memory
            reason = _no_png(content)
        raise MediaError("corrupt", f"{uri}: the mask cannot be read ({reason}); replace it") from error
    return image


def _no_png(content: bytes) -> str:
    if content.startswith(JPEG):
        return f"it is a JPEG, which does not keep the values of masks, named .png; {SAVE_AS_PNG}"
    if found := stand_in(content[:HEAD_BYTES]):
        return f"it is not a PNG file, but {found}"
    return "not a PNG file, or truncated" if content else "the file is empty"


def _from_palette(uri: str, image: Image.Image, binary: bool) -> PngMask:
    indices = np.asarray(image)
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    used = np.unique(indices)
    if used[-1] >= len(palette):
        return PngMask(indices, PALETTE)
    if not palette[used].any() and palette[0].any():  # all is black, though not index 0
        return PngMask(np.zeros_like(indices), PALETTE)
    if not (palette[used] == palette[used, :1]).all():
        return _from_colour_palette(uri, indices, palette, used, binary)
    gray = palette[:, 0]
    is_white_first = bool((palette[0] == gray[0]).all()) and gray[0] > (0 if used[-1] == 0 else gray[used].min())
    as_shown = binary or (used.tolist() == [0, VOID_ID] and gray[used].tolist() == [VOID_ID, 0])
    if len(used) <= 2 and not (as_shown and is_white_first):
        return PngMask(indices, PALETTE)
    if (gray[used] == used).all():
        return PngMask(indices, "palette of gray values")
    return PngMask(np.asarray(gray[indices]), "palette of gray values") if as_shown else PngMask(indices, PALETTE)


def _from_colour_palette(uri: str, indices: np.ndarray, palette: np.ndarray, used: np.ndarray, binary: bool) -> PngMask:
    """Read a palette image by its indices, unless a program has sorted the palette, or dropped entries of it.

    The background is black then, wherever it is, and the colours of the DAVIS palette tell the ids. Raises ColourError
    for label maps whose indices and colours may both be meant.
    """
    codes = palette.astype(np.int64) @ [65536, 256, 1]
    is_black = codes[used] == 0
    is_moved = bool(codes[0] != 0 and is_black.any())  # black is the colour of an index that is not 0
    if binary:
        if not is_moved:
            return PngMask(indices, PALETTE)
        return PngMask(np.where(codes[indices] != 0, np.uint8(1), np.uint8(0)), SORTED_PALETTE)
    ids = np.array([_DAVIS_IDS.get(int(code), -1) for code in codes[used]])
    are_davis = bool((ids >= 0).all() and len(set(ids)) == len(ids))
    if (are_davis and (ids == used).all()) or not (is_moved or are_davis):
        return PngMask(indices, PALETTE)
    if is_moved and are_davis:
        of_index = np.zeros(len(palette), np.uint8)
        of_index[used] = ids
        return PngMask(of_index[indices], DAVIS_COLOURS)
    is_whole = bool(set(codes.tolist()) - {0, *codes[used].tolist()})  # entries that this image does not use
    if not is_moved and codes[0] == 0 and is_whole:
        return PngMask(indices, PALETTE)
    if is_moved:
        text = f"black, the background, is index {used[is_black][0]} of its palette, not 0"
    else:
        first = int(np.flatnonzero(ids != used)[0])
        text = f"index {used[first]} of its palette has the colour that DAVIS gives the id {ids[first]}"
    raise ColourError("corrupt", f"{uri}: {text}: a program has changed the palette; {SAVE_IDS}")


def _from_colours(uri: str, image: Image.Image, binary: bool) -> PngMask:
    planes = np.asarray(image)
    if image.mode.endswith("A"):
        if (planes[..., -1] != 255).any():
            raise ColourError("corrupt", f"{uri}: mask of mode {image.mode} with transparent pixels; {SAVE_IDS}")
        planes = planes[..., :-1]
    if (planes == planes[..., :1]).all():
        return PngMask(np.ascontiguousarray(planes[..., 0]), f"{image.mode} with equal planes")
    if binary:
        _require_background(uri, planes)
        return PngMask(
            np.where(planes.any(2), np.uint8(255), np.uint8(0)),
            f"{image.mode}, any colour but black taken as foreground",
        )
    codes = planes.astype(np.int64) @ [65536, 256, 1]
    at = np.minimum(np.searchsorted(_CODES[_IDS], codes), len(_IDS) - 1)
    ids = _IDS[at]
    if (_CODES[ids] != codes).any():
        text = f"mask of mode {image.mode} in colours that are not of the DAVIS palette"
        raise ColourError("corrupt", f"{uri}: {text}; {SAVE_IDS}")
    return PngMask(ids.astype(np.uint8), DAVIS_COLOURS)


def _require_background(uri: str, planes: np.ndarray) -> None:
    """Raise ColourError for a picture without black: all of it would be foreground. `planes`: uint8 [H, W, 3].

    A picture of the object alone, on black, is a mask in many colours, and a soft mask has shades of its colour.
    """
    if not planes.any(2).all():
        return
    shades = len(np.unique(planes.astype(np.int64) @ [65536, 256, 1]))
    if shades > MOST_SHADES:
        text = f"{shades} colours and no black: a picture, not a mask"
        raise ColourError("corrupt", f"{uri}: {text}; give the folder of masks, or save the object as 255 on black")
