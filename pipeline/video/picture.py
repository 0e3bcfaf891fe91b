"""Decode image files, told by their content, not by their name: one frame of a folder, one image, or an animation.

Images are converted to 8-bit RGB as the field's data loaders do it (`Image.convert("RGB")`: palettes resolved, alpha
dropped, CMYK and gray converted); 16-bit gray keeps its high byte. EXIF orientation is applied, as viewers do.
"""

import contextlib
import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import BinaryIO

import numpy as np
from PIL import Image

from pipeline.io import storage
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from pipeline.video import orientation, picture_parts
from pipeline.video.memory import raise_shortage
from pipeline.video.picture_parts import PartsError, PictureFile
from pipeline.video.select_frames import Damage, Picture
from pipeline.video.types import MAX_PIXELS, LeftOut, check_size
from schemas.errors import MediaError
from schemas.printable import counted

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".avif", ".jp2",
    ".ppm", ".pgm", ".pnm",
)  # fmt: skip
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "PPM", "GIF")
UNREADABLE_SUFFIXES = (".heic", ".heif", ".exr", ".dpx", ".tga", ".jxl", ".psd", ".dng", ".hdr")  # and yet pictures
_SIGNATURES = (  # name, offset, bytes
    ("JPEG", 0, b"\xff\xd8\xff"), ("PNG", 0, b"\x89PNG\r\n\x1a\n"), ("GIF", 0, b"GIF8"), ("WebP", 8, b"WEBP"),
    ("TIFF", 0, b"II*\0"), ("TIFF", 0, b"MM\0*"), ("BMP", 0, b"BM"), ("AVIF", 4, b"ftypavif"),
    ("JPEG 2000", 0, b"\0\0\0\x0cjP"),
)  # fmt: skip
_PHOTOMETRIC = 262  # tag of TIFF
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF; libtiff takes memory for a whole tile, however small the image is
UNTOLD = Fraction(1, 10)  # seconds of an image of an animation that does not say it, as browsers show it
_ANIMATED = ("PNG", "WEBP", "AVIF", "GIF", "TIFF")


def is_image(uri: str) -> bool:
    """Return True if the file name ends as that of an image."""
    return storage.file_name(uri).lower().endswith(SUFFIXES)


def decode(content: bytes, uri: str, name: str) -> np.ndarray:
    """Decode an image file to uint8 [H, W, 3] RGB, upright. Raises MediaError; never pads a truncated image."""
    image = _open(content, uri, name)
    try:
        count = _count(image)
        pixels = _rgb(image) if count == 1 else None
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise_shortage(error)
        raise MediaError("corrupt", f"{uri}: cannot decode the image ({error}); replace it", name) from error
    if pixels is None:
        reason = f"{uri} has an animation of {count} images; give it as a video of its own, or extract them"
        raise MediaError("bad_row", reason, name)
    return pixels


class Animation(contextlib.AbstractContextManager["Animation"]):
    """An animated PNG, WebP or AVIF, or a stack of TIFF pages, as a video: a `VideoReader`."""

    def __init__(self, content: bytes, uri: str):
        self._uri, self._image = uri, _open(content, uri, None)
        self.num_frames: int | None = _count(self._image)  # raises nothing, as `is_animation` was true
        self.left_out: list[LeftOut] = []

    def __exit__(self, *_: object) -> None:
        self._image.close()

    def __iter__(self) -> Iterator[Picture]:
        time = Fraction(0)
        for number in range(self.num_frames or 0):
            if isinstance(file := self._image.fp, PictureFile):
                file.reads = 0
            try:
                self._image.seek(number + _is_apart(self._image))
                check_size(self._image.width, self._image.height, self._uri, number)
                shown = _rgb(self._image)
            except MediaError:
                raise
            except Exception as error:
                raise_shortage(error)
                raise Damage(f"frame {number}: {error}") from error
            duration = Fraction(self._image.info.get("duration") or 0) / 1000 or UNTOLD
            yield Picture(lambda shown=shown: shown, time, duration)
            time += duration


def is_animation(uri: str) -> bool:
    """Return True if the image at `uri` is an animation of several images. False for a damaged or missing one."""
    if not storage.file_name(uri).lower().endswith((".png", ".apng", ".webp", ".avif", ".tif", ".tiff")):
        return False
    return has_several_images(uri)


def has_several_images(uri: str) -> bool:
    """Return True if the image at `uri`, whatever its name, holds several. False for a damaged or missing one."""
    try:
        with storage.open_input(uri) as file:
            return _count(open_image(file, _ANIMATED)) > 1
    except Exception as error:
        raise_shortage(error)
        return False


def open_image(file: BinaryIO, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open an image of one of these formats of Pillow. Raises PartsError if it has too many parts, and as Pillow."""
    return Image.open(picture_parts.bounded(file), formats=formats)  # pyright: ignore[reportArgumentType]


def _open(content: bytes, uri: str, name: str | None) -> Image.Image:
    try:
        image = open_image(io.BytesIO(content))
    except PartsError as error:
        raise MediaError("corrupt", f"{uri}: the image is not usable: {error}; save it again", name) from None
    except Image.DecompressionBombError:
        raise MediaError("bad_row", f"{uri}: the image is too large; scale it down", name) from None
    except Exception as error:
        raise_shortage(error)
        raise MediaError("corrupt", f"{uri} {_what_is(content)}; replace it", name) from error
    check_size(image.width, image.height, uri, name)
    return image


def orientation_tag(content: bytes) -> int:
    """Return the EXIF orientation of a picture, 1 to 8; 1 (upright) without one."""
    try:
        with open_image(io.BytesIO(content)) as image:
            return orientation.tag_of(image)
    except Exception as error:
        raise_shortage(error)
        return 1


def _what_is(content: bytes) -> str:
    """Return what is wrong with a file that is not opened as an image, without showing its content."""
    if not content:
        return "is not an image (the file is empty)"
    for kind, at, start in _SIGNATURES:
        if content[at : at + len(start)] == start or (len(content) < at + len(start) and start.startswith(content)):
            return f"is a {kind} that is cut off or damaged in its header ({counted(len(content), 'byte')})"
    if content[4:8] == b"ftyp":
        return "is not an image, but a video or an image of a form that cannot be read (ISO media, such as HEIC)"
    if found := stand_in(content[:HEAD_BYTES]):
        return f"is not an image, but {found}"
    if content.lstrip()[:1] == b"<":
        return "is not an image, but text with markup, such as a web page"
    with contextlib.suppress(UnicodeDecodeError):
        if content[:256].decode("ascii").isprintable() or b"\n" in content[:256]:
            return "is not an image, but text"
    return "is not an image, but data of another kind"


def _count(image: Image.Image) -> int:
    """Return the number of images to show one after the other; previews and smaller copies do not count."""
    count = getattr(image, "n_frames", 1) - _is_apart(image)
    if image.format not in _ANIMATED or count == 1:
        return 1
    size = image.size
    image.seek(1)
    same = image.size == size
    image.seek(0)
    return count if same else 1


def _is_apart(image: Image.Image) -> bool:
    """Return True if the first image of an animated PNG is shown by programs that cannot animate only."""
    return bool(getattr(image, "default_image", False))


def _rgb(image: Image.Image) -> np.ndarray:
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TILE_WIDTH, 0) * tags.get(_TILE_HEIGHT, 0) > MAX_PIXELS:
        raise PartsError("its tiles are larger than any image")
    white_is_zero = tags.get(_PHOTOMETRIC) == 0  # which Pillow heeds with 8 bits only
    image.load()  # PNG may have its EXIF data at the end; of TIFF, Pillow applies and removes it here
    turned = orientation.of_image(image)
    is_deep_pgm = image.format == "PPM" and image.mode == "I"  # more than 8 bits, which Pillow scales to 16
    if image.mode.startswith("I;16") or is_deep_pgm:
        gray = (np.asarray(image) >> 8).astype(np.uint8)
        if white_is_zero:
            gray = 255 - gray
        pixels = np.repeat(gray[..., None], 3, axis=2)
    elif image.mode in ("I", "F"):
        raise ValueError("its values are numbers of 32 bits, not colours; convert it to 8 bits")
    else:
        pixels = np.asarray(image.convert("RGB"))
    return turned.apply(pixels) if turned != orientation.UPRIGHT else pixels
