"""Read a folder of image files, or one such file (RefCOCO as pseudo-clips), as a video."""

import re
from collections.abc import Iterator

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import picture
from pipeline.video.types import Frame, LeftOut, Selection, VideoHeader, check_same_size
from schemas.errors import MediaError

REMOTE_READERS = 8  # images fetched in parallel; remote folders cost latency, not bandwidth
NO_IMAGES = "files in folders of frames that are not images"
_NUMBER = re.compile(r"([0-9]+)")


def list_frames(uri: str, left_out: list[LeftOut] | None = None) -> dict[str, str]:
    """Return the file name of each frame name (file stem), in the order of the video: natural order (2 before 10).

    Other files are noted in `left_out`. Raises MediaError if the folder has no images, if two have the same frame name,
    if one has a form that cannot be read, or if a name is not UTF-8, which no table can hold.
    """
    stems: dict[str, str] = {}
    others = []
    for name in storage.names(uri):
        stem, dot, suffix = name.rpartition(".")
        suffix = dot + suffix.lower()
        if suffix in picture.UNREADABLE_SUFFIXES:
            raise MediaError("bad_row", f"{uri}: {suffix} files cannot be read; convert them to PNG or JPEG", stem)
        if suffix not in picture.SUFFIXES:
            others.append(name)
            continue
        if not storage.is_text(stem):
            raise MediaError("bad_row", f"{uri}: file name {name!a} is not UTF-8; rename it")
        if stem in stems:
            reason = f"{uri} has two images for this frame, {stems[stem]} and {name}; remove one"
            raise MediaError("bad_row", reason, stem)
        stems[stem] = name
    if not stems:
        found = f" ({len(others)} other files, such as {others[0]!a})" if others else ""
        raise MediaError("missing", f"{uri} is a folder without images{found}; add JPEG or PNG files")
    if others and left_out is not None:
        left_out.append(LeftOut(NO_IMAGES, len(others), storage.join(uri, min(others))))
    return {stem: stems[stem] for stem in sorted(stems, key=natural_order)}


def natural_order(name: str) -> tuple:
    """Return the sort key of a frame name: numbers in it count as numbers, whatever is around them."""
    parts = _NUMBER.split(name)
    return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name


def probe(uri: str, images: dict[str, str]) -> VideoHeader:
    """Return the header of the folder `uri` with `images` (frame name -> URI), from its first image."""
    name, path = next(iter(images.items()))
    image = picture.decode(storage.read_bytes(path, limit=picture.MAX_BYTES), uri, name)
    return VideoHeader(len(images), image.shape[0], image.shape[1], tuple(images))


def read(uri: str, images: dict[str, str], selection: Selection) -> Iterator[Frame]:
    """Yield the selected frames of the folder `uri` with `images`; see `pipeline.video.read_frames`."""
    names = tuple(images)
    indices = selection.resolve(uri, len(names), names) or range(0, len(names), selection.step)
    workers = REMOTE_READERS if storage.is_remote(uri) else 1
    paths = [images[names[index]] for index in indices]
    contents = bounded_map(lambda path: storage.read_bytes(path, limit=picture.MAX_BYTES), paths, workers)
    size = None
    for index, content in zip(indices, contents, strict=True):
        image = picture.decode(content, uri, names[index])
        size = size or image.shape[:2]
        check_same_size(image, size, uri, names[index])
        yield Frame(index, names[index], image)
