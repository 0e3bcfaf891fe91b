"""Read a folder of image files, or one such file (RefCOCO as pseudo-clips), as a video."""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import pairwise

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.video import picture, picture_parts
from pipeline.video.types import Frame, LeftOut, Selection, VideoHeader, check_same_size
from pipeline.video.written_numbers import written_numbers
from schemas.errors import MediaError
from schemas.printable import counted

Size = tuple[int, ...]  # height, width
REMOTE_READERS = 8  # images fetched in parallel; remote folders cost latency, not bandwidth
NO_IMAGES = "files in folders of frames that are not images"
THUMBNAILS = "thumbnails next to clips or frames (names such as cover and preview)"
COVERS = {"cover", "folder", "poster", "fanart", "thumb", "thumbnail", "banner", "backdrop", "albumart", "preview"}
COVER_END = re.compile(rf"[-_. ](?:{'|'.join(COVERS)})[0-9]*$")
# Assumed; after the semicolon: the way out.
NATURAL = "folders of images in natural order (2 before 10), which is not the order of letters; check it"
ODD_NAMES = "images whose names do not count like the others in their folder; they are taken as frames too"
ANIMATIONS_AMONG = 100  # images of a folder that are opened to find animations; more are frames
IS_AMONG_FRAMES = "is an animation among the frames of its folder; give it a folder of its own, or extract its images"
_DECIMAL = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_HEXADECIMAL = re.compile("[0-9a-f]+"), re.compile("[0-9A-F]+")
_NUMBER = re.compile(r"(\d+)")  # in the digits of any script
_PADDED = re.compile(r"\s*\d+")
_SIGNED = re.compile(r"-?[0-9]+")


def list_frames(uri: str, left_out: list[LeftOut] | None = None) -> dict[str, str]:
    """Return the file name of each frame name (file stem), in the order of the video, see `in_order`.

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
    if gif := next((name for name in others if name.lower().endswith(".gif") and _counts_like(name, stems)), None):
        reason = f"{uri}: {gif} counts like the frames, and GIF files are not read as frames; convert it to PNG"
        raise MediaError("bad_row", reason, gif.rpartition(".")[0])
    if not stems:
        found = f" ({counted(len(others), 'other file')}, such as {others[0]!a})" if others else ""
        raise MediaError("missing", f"{uri} is a folder without images{found}; add JPEG or PNG files")
    for reason, names in ((NO_IMAGES, others), (THUMBNAILS, small)):
        if names and left_out is not None:
            left_out.append(LeftOut(reason, len(names), storage.join(uri, min(names))))
    return {stem: stems[stem] for stem in in_order(stems)}


def _counts_like(name: str, frames: Collection[str]) -> bool:
    """Return True if a file, which is no frame, has a number like most of `frames`, and is named like none of them."""
    form, *_ = Counter(name_form(f"{stem}.") for stem in frames).most_common(1) or [("", 0)]
    return name_form(name) == form[0] and "#" in form[0] and name.rpartition(".")[0] not in frames


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
    return _PADDED.sub("#", unicodedata.normalize("NFKC", name.rpartition(".")[0]).casefold())


def in_order(names: Collection[str]) -> list[str]:
    """Return frame names in the order of the video: natural order, unless all names are decimals or hexadecimal.

    Decimals are in the order of numbers (1.25, 1.5, 2.0; also t1.25s), unless they count a scene and its frames (1.9,
    1.10). So are whole numbers below and above zero (t-2, t-1, t0), and numbers such as 0x1f and 1e-05. Hexadecimal
    numbers of one length are in the order of letters.
    """
    letters = sorted(names)
    if numbers := _signed(letters) or written_numbers(letters) or _decimals(letters):
        return sorted(letters, key=numbers.__getitem__)
    ends = [name[_shared(letters[0], letters[-1]) :] for name in letters] if letters else []
    if len({*map(len, letters)}) == 1 and any(all(map(form.fullmatch, ends)) for form in _HEXADECIMAL):
        return letters
    return sorted(letters, key=natural_order)


def _decimals(names: Sequence[str]) -> dict[str, Decimal] | None:
    """Return the numbers in sorted names that differ in one decimal number; None if they count scenes and frames."""
    if len(names) < 2:
        return None
    start = _before_numbers(names)
    end = _before_numbers(sorted(name[start:][::-1] for name in names))
    numbers = {name: name[start : len(name) - end] for name in names}
    if not all(map(_DECIMAL.fullmatch, numbers.values())):
        return None
    parts = [number.partition(".") for number in numbers.values()]
    fractions = [fraction for _, _, fraction in parts]
    values = {name: Decimal(number) for name, number in numbers.items()}
    if len({*map(len, fractions)}) == 1 or len({*values.values()}) < len(names):
        return None
    has_tens = any(len(fraction) > 1 and fraction.endswith("0") for fraction in fractions)
    return None if has_tens or _count_evenly((whole, int(fraction or 0)) for whole, _, fraction in parts) else values


def _signed(names: Sequence[str]) -> dict[str, Decimal] | None:
    """Return the numbers in sorted names that differ in one whole number, with and without a minus sign in front."""
    shared = names[0][: _shared(names[0], names[-1])].rstrip("-0123456789") if names else ""
    numbers = {name: name[len(shared) :] for name in names}
    if not all(map(_SIGNED.fullmatch, numbers.values())) or len({name[0] == "-" for name in numbers.values()}) < 2:
        return None
    return {name: Decimal(number) for name, number in numbers.items()}


def _before_numbers(names: Sequence[str]) -> int:
    """Return the length of what sorted names share, without a number at its end."""
    return len(names[0][: _shared(names[0], names[-1])].rstrip("0123456789."))


def _count_evenly(places: Iterable[tuple[str, int]]) -> bool:
    """Return True if scenes have frames in steps of one size, such as 1.1, 1.3 ... 1.9, 1.11."""
    scenes: dict[str, list[int]] = {}
    for scene, frame in places:
        scenes.setdefault(scene, []).append(frame)
    steps = [after - before for frames in scenes.values() for before, after in pairwise(sorted(frames))]
    return len(steps) > 1 and len({*steps}) == 1


def _shared(first: str, last: str) -> int:
    """Return the length of the beginning that two names share, and with them all in between."""
    return next((at for at, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), len(first))


def order_notes(files: Collection[str]) -> tuple[bool, list[str]]:
    """Return whether the order of the frames of a folder is another than that of letters, and the odd files among them.

    Odd names do not count like most others: `cover.jpg` among `1.jpg`, `2.jpg`.
    """
    stems = [name.rpartition(".")[0] for name in files]
    return in_order(stems) != sorted(stems), odd_names(files)


def odd_names(files: Collection[str]) -> list[str]:
    """Return the file names that do not count like most others."""
    form = {name: name_form(name) for name in files}
    usual, _ = Counter(form.values()).most_common(1)[0]
    return [name for name in form if form[name] != usual or "#" not in usual]


def animation_among(folder: str, files: Collection[str]) -> str | None:
    """Return the first file of a folder of frames that is an animation; of many files, none is opened."""
    if len(files) > ANIMATIONS_AMONG:
        return None
    return next((name for name in files if picture.is_animation(storage.join(folder, name))), None)


def natural_order(name: str) -> tuple:
    """Return the sort key of a frame name: numbers in it count as numbers, whatever is around them.

    Forms of one letter or digit (composed, full width) are equal, and blanks pad a number as zeros do.
    """
    parts = _NUMBER.split(unicodedata.normalize("NFKC", name))
    return [_by_size(part) if index % 2 else part.casefold().rstrip() for index, part in enumerate(parts)], name


def _by_size(digits: str) -> tuple[int, str]:
    """Return the sort key of a number of any length, in the digits of any script."""
    digits = "".join(str(unicodedata.decimal(digit)) for digit in digits).lstrip("0")
    return len(digits), digits


def probe(uri: str, images: dict[str, str]) -> VideoHeader:
    """Return the header of the folder `uri` with `images` (frame name -> URI), from its first image."""
    name, path = next(iter(images.items()))
    image = picture.decode(storage.read_bytes(path, limit=picture_parts.MAX_BYTES), path, name)
    return VideoHeader(len(images), image.shape[0], image.shape[1], tuple(images))


def _as_exif(error: MediaError, content: bytes, size: Size, found: Size, first: str) -> MediaError:
    """Return the error of a frame of another size; if only its EXIF data turns it, unlike the first, say that."""
    if found != (size[1], size[0]):
        return error
    tags = [picture.orientation_tag(one) for one in (content, storage.read_bytes(first, limit=picture_parts.MAX_BYTES))]
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
    contents = bounded_map(lambda path: storage.read_bytes(path, limit=picture_parts.MAX_BYTES), paths, workers)
    size = None
    for index, path, content in zip(indices, paths, contents, strict=True):
        image = picture.decode(content, path, names[index])
        size = size or image.shape[:2]
        try:
            check_same_size(image, size, path, names[index])
        except MediaError as error:
            raise _as_exif(error, content, size, image.shape[:2], paths[0]) from None
        yield Frame(index, names[index], image)
