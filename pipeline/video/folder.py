"""Read a folder of JPEG or PNG files, or one such file (RefCOCO as pseudo-clips), as a video.

Images are converted to 8-bit RGB as the field's data loaders do it (`Image.convert("RGB")`: palettes resolved, alpha
dropped, CMYK and gray converted); 16-bit gray keeps its high byte. EXIF orientation is ignored, since the masks of such
data sets are drawn on the stored pixels.
"""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video.types import Frame, Selection, VideoHeader, check_same_size, check_size
from schemas.errors import MediaError

SUFFIXES = (".jpg", ".jpeg", ".png")
MAX_IMAGE_BYTES = 2**28
REMOTE_READERS = 8  # images fetched in parallel; remote folders cost latency, not bandwidth


def list_frames(uri: str) -> dict[str, str]:
    """Return the file name of each frame name (file stem), in the order of the video.

    Frames are sorted by name, or by number if all names are numbers (2 before 10). Raises MediaError if the folder has
    no images, if two have the same frame name, or if a name is not UTF-8, which no table can hold.
    """
    stems: dict[str, str] = {}
    for name in storage.names(uri):
        stem, dot, suffix = name.rpartition(".")
        if dot + suffix.lower() not in SUFFIXES:
            continue
        if not storage.is_text(stem):
            raise MediaError("bad_row", f"{uri}: file name {name!a} is not UTF-8; rename it")
        if stem in stems:
            reason = f"{uri} has two images for this frame, {stems[stem]} and {name}; remove one"
            raise MediaError("bad_row", reason, stem)
        stems[stem] = name
    if not stems:
        raise MediaError("missing", f"{uri} is a folder without images; add JPEG or PNG files")
    numbers = all(stem.isascii() and stem.isdigit() for stem in stems)
    return {stem: stems[stem] for stem in sorted(stems, key=lambda stem: (int(stem) if numbers else 0, stem))}


def is_image(uri: str) -> bool:
    """Return True if the file name ends as that of an image."""
    return storage.file_name(uri).lower().endswith(SUFFIXES)


def probe(uri: str, images: dict[str, str]) -> VideoHeader:
    """Return the header of the folder `uri` with `images` (frame name -> URI), from the size of the first one."""
    name, path = next(iter(images.items()))
    image = open_image(storage.read_bytes(path, limit=MAX_IMAGE_BYTES), uri, name)
    return VideoHeader(len(images), image.height, image.width, tuple(images))


def read(uri: str, images: dict[str, str], selection: Selection) -> Iterator[Frame]:
    """Yield the selected frames of the folder `uri` with `images`; see `pipeline.video.read_frames`."""
    names = tuple(images)
    indices = selection.resolve(uri, len(names), names) or range(0, len(names), selection.step)
    workers = REMOTE_READERS if storage.is_remote(uri) else 1
    paths = [images[names[index]] for index in indices]
    contents = bounded_map(lambda path: storage.read_bytes(path, limit=MAX_IMAGE_BYTES), paths, workers)
    size = None
    for index, content in zip(indices, contents, strict=True):
        image = decode(content, uri, names[index])
        size = size or image.shape[:2]
        check_same_size(image, size, uri, names[index])
        yield Frame(index, names[index], image)


def decode(content: bytes, uri: str, name: str) -> np.ndarray:
    """Decode a JPEG or PNG file to uint8 [H, W, 3] RGB. Raises MediaError; never pads a truncated image."""
    image = open_image(content, uri, name)
    try:
        image.load()
        if image.mode.startswith("I"):
            return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))
    except Exception as error:  # damaged data makes Pillow raise many kinds
        raise _unreadable(uri, name, error) from error


def open_image(content: bytes, uri: str, name: str) -> Image.Image:
    """Read the header of an image and check its size, without decoding pixels. Raises MediaError."""
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
    except Image.DecompressionBombError:
        raise MediaError("bad_row", f"{uri}: the image is too large; scale it down", name) from None
    except Exception as error:
        raise _unreadable(uri, name, error if content else "the file is empty") from error
    check_size(image.width, image.height, uri, name)
    return image


def _unreadable(uri: str, name: str, error: object) -> MediaError:
    return MediaError("corrupt", f"{uri}: cannot decode the image ({error}); replace it", name)
