"""Read a folder of image files, or one such file (RefCOCO as pseudo-clips), as a video."""

import re
from collections import Counter
from collections.abc import Collection, Iterator

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import picture
from pipeline.video.types import Frame, LeftOut, Selection, VideoHeader, check_same_size
from schemas.errors import MediaError

Size = tuple[int, ...]  # height, width
REMOTE_READERS = 8  # images fetched in parallel; remote folders cost latency, not bandwidth
NO_IMAGES = "files in folders of frames that are not images"
THUMBNAILS = "thumbnails next to clips or frames (names such as cover and preview)"
COVERS = {"cover", "folder", "poster", "fanart", "thumb", "thumbnail", "banner", "backdrop", "albumart", "preview"}
COVER_END = re.compile(rf"[-_. ](?:{'|'.join(COVERS)})[0-9]*$")
_NUMBER = re.compile(r"([0-9]+)")


def list_frames(uri: str, left_out: list[LeftOut] | None = None) -> dict[str, str]:
    """Return the file name of each frame name (file stem), in the order of the video: natural order (2 before 10).

    Thumbnails and other files are noted in `left_out`. Raises MediaError if the folder has no images, if two have the
    same frame name, if one has a form that cannot be read, or if a name is not UTF-8, which no table can hold.
    """
    stems: dict[str, str] = {}
    others, there = [], storage.names(uri)
    small = thumbnails(there)
    for name in there:
        stem, dot, suffix = name.rpartition(".")
        suffix = dot + suffix.lower()
        if suffix in picture.UNREADABLE_SUFFIXES:
            raise MediaError("bad_row", f"{uri}: {suffix} files cannot be read; convert them to PNG or JPEG", stem)
        if suffix not in picture.SUFFIXES or name in small:
            others += [name] if name not in small else []
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
    for reason, names in ((NO_IMAGES, others), (THUMBNAILS, small)):
        if names and left_out is not None:
            left_out.append(LeftOut(reason, len(names), storage.join(uri, min(names))))
    return {stem: stems[stem] for stem in sorted(stems, key=natural_order)}


def thumbnails(names: Collection[str]) -> set[str]:
    """Return the images of a folder of frames that are thumbnails. `names`: of all its files.

    They are named like a cover or like another file of the folder, and do not count as the frames do: `cover.jpg` among
    `1.jpg`, `2.jpg`. Where most names have no number, all images are frames.
    """
    images = {name for name in names if name.lower().endswith(picture.SUFFIXES)}
    others = {each for name in names if name not in images for each in (name.casefold(), _stems(name)[0])}
    likely = {name for name in images if is_cover(name) or len({*_stems(name)}) > 1 or belongs_to(name, others)}
    usual, _ = Counter(map(name_form, sorted(images - likely))).most_common(1)[0] if images - likely else ("", 0)
    return {name for name in likely if name_form(name) != usual} if "#" in usual else set()


def is_cover(name: str) -> bool:
    """Return True if an image is named as programs name the cover of a folder."""
    return _stems(name)[0] in COVERS


def _stems(name: str) -> tuple[str, str]:
    """Return the stem of a file name in lower case, and what is left of it without the word for a thumbnail."""
    stem = name.rpartition(".")[0].casefold()
    return stem, COVER_END.sub("", stem)


def belongs_to(name: str, clips: Collection[str]) -> bool:
    """Return True if an image is named like one of the clips (lower case, with and without suffix)."""
    return not {*_stems(name)}.isdisjoint(clips)


def name_form(name: str) -> str:
    """Return the stem of a file name in lower case, with # for each number."""
    return _NUMBER.sub("#", name.rpartition(".")[0].casefold())


def natural_order(name: str) -> tuple:
    """Return the sort key of a frame name: numbers in it count as numbers, whatever is around them."""
    parts = _NUMBER.split(name)
    return [_by_size(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name


def _by_size(digits: str) -> tuple[int, str]:
    """Return the sort key of a number of any length."""
    digits = digits.lstrip("0")
    return len(digits), digits


def probe(uri: str, images: dict[str, str]) -> VideoHeader:
    """Return the header of the folder `uri` with `images` (frame name -> URI), from its first image."""
    name, path = next(iter(images.items()))
    image = picture.decode(storage.read_bytes(path, limit=picture.MAX_BYTES), path, name)
    return VideoHeader(len(images), image.shape[0], image.shape[1], tuple(images))


def _as_exif(error: MediaError, content: bytes, size: Size, found: Size, first: str) -> MediaError:
    """Return the error of a frame of another size; if only its EXIF data turns it, unlike the first, say that."""
    if found != (size[1], size[0]):
        return error
    tags = [picture.orientation_tag(one) for one in (content, storage.read_bytes(first, limit=picture.MAX_BYTES))]
    if (tags[0] > 4) == (tags[1] > 4):  # 5 to 8 exchange width and height
        return error
    text = f"its EXIF orientation is {tags[0]}, that of {storage.file_name(first)} is {tags[1]}"
    shown = f"it is shown as {found[1]}x{found[0]}, the others as {size[1]}x{size[0]}"
    advice = "save all frames upright and without EXIF orientation"
    return MediaError(error.status, f"{error.reason.partition(': ')[0]}: {text}: {shown}; {advice}", error.frame)


def read(uri: str, images: dict[str, str], selection: Selection) -> Iterator[Frame]:
    """Yield the selected frames of the folder `uri` with `images`; see `pipeline.video.read_frames`."""
    names = tuple(images)
    indices = selection.resolve(uri, len(names), names) or range(0, len(names), selection.step)
    workers = REMOTE_READERS if storage.is_remote(uri) else 1
    paths = [images[names[index]] for index in indices]
    contents = bounded_map(lambda path: storage.read_bytes(path, limit=picture.MAX_BYTES), paths, workers)
    size = None
    for index, path, content in zip(indices, paths, contents, strict=True):
        image = picture.decode(content, path, names[index])
        size = size or image.shape[:2]
        try:
            check_same_size(image, size, path, names[index])
        except MediaError as error:
            raise _as_exif(error, content, size, image.shape[:2], paths[0]) from None
        yield Frame(index, names[index], image)
