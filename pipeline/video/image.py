"""Read a JPEG or PNG file as a video of one frame, for image data sets (RefCOCO as pseudo-clips)."""

from collections.abc import Iterator

from pipeline.io import storage
from pipeline.video.folder import MAX_IMAGE_BYTES, SUFFIXES, decode, open_image
from pipeline.video.types import Frame, Selection, VideoHeader


def is_image(uri: str) -> bool:
    """Return True if the file name ends as that of an image."""
    return storage.file_name(uri).lower().endswith(SUFFIXES)


def probe(uri: str) -> VideoHeader:
    """Return the header of the image. Its frame has the name of the file without suffix."""
    image = open_image(_content(uri), uri, _name(uri))
    return VideoHeader(1, image.height, image.width, (_name(uri),))


def read(uri: str, selection: Selection) -> Iterator[Frame]:
    """Yield its frame; see `pipeline.video.read_frames`."""
    name = _name(uri)
    for index in selection.resolve(uri, 1, (name,)) or (0,):
        yield Frame(index, name, decode(_content(uri), uri, name))


def _name(uri: str) -> str:
    return storage.file_name(uri).rpartition(".")[0]


def _content(uri: str) -> bytes:
    return storage.read_bytes(uri, limit=MAX_IMAGE_BYTES)
