"""Trees of PNG masks, the form in which results are exchanged: label maps, or one folder for each expression."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.encode_values import encode_values
from pipeline.masks.frame_numbers import is_number
from pipeline.masks.mask_values import MOST_LABELS, half_of, is_soft
from pipeline.masks.png_file import PALETTE, read_png
from pipeline.video.folder import is_cover, natural_order
from pipeline.video.picture import SUFFIXES
from schemas.errors import InputError, MediaError

SUFFIX = ".png"
SAVE_AS_PNG = "save all masks as PNG, which keeps every value (JPEG does not)"
_ANNOTATOR = re.compile(r"anno_\d+")  # folders that 'rvos export davis' writes
RESOLUTIONS = {"480p", "1080p", "Full-Resolution"}  # folders of DAVIS between Annotations and the videos


class PngReading(NamedTuple):
    """How to read many PNGs: in `workers` threads; `on_progress` is called with the files that are done, and all."""

    workers: int = os.cpu_count() or 1
    on_progress: Callable[[int, int], None] | None = None


class TreeFrame(NamedTuple):
    """One PNG. `index`: its stem if the stems of the folder are numbers, else its position."""

    index: int
    name: str  # the stem
    height: int
    width: int
    pixels: dict[int, int]  # number of pixels by value above 0, ascending
    strings: dict[int, bytes]  # RLE by value; in trees by expression, 1 for all values above 0
    half: bytes | None  # RLE of the pixels from half on, if there are several values and one of them is above half
    pixel_format: str


DEFAULT_READING = PngReading()


@dataclass(frozen=True, slots=True)
class PngTree:
    """`<video>/<frame>.png` with object ids as values (DAVIS), or `<video>/<expression>/<frame>.png` with one mask each
    (submissions to Ref-YouTube-VOS and MeViS). Either may be in a folder `Annotations`.

    Label maps show objects, so any expression may refer to them.
    """

    folder: str
    are_objects: bool
    videos: dict[str, tuple[str, ...]]  # with the expressions of each; none in label maps

    @classmethod
    def find(cls, folder: str) -> "PngTree | None":
        """Return the tree in `folder`, if it holds one. Raises InputError if it mixes both forms."""
        if "Annotations" in storage.names(folder):
            folder = storage.join(folder, "Annotations")
        label_maps, by_expression = {}, {}
        others: list[str] = []  # folders of pictures of another form
        for video in storage.names(folder):
            uri = storage.join(folder, video)
            names = storage.names(uri) if storage.is_folder(uri) else []
            if any(map(is_png, names)):
                label_maps[video] = ()
                continue
            others += [uri for name in names[:1] if name.lower().endswith(SUFFIXES)]
            folders = {name: storage.join(uri, name) for name in names if storage.is_folder(storage.join(uri, name))}
            expressions = [name for name, uri in folders.items() if any(map(is_png, storage.names(uri)))]
            if expressions:
                by_expression[video] = tuple(expressions)
        if by_expression and by_expression.keys() <= RESOLUTIONS:
            text = f"is a DAVIS folder with a folder for each resolution; give {folder}/{min(by_expression)}"
            raise InputError(f"{folder} {text}, or the annotations that 'rvos import davis' writes")
        if by_expression and all(map(_ANNOTATOR.fullmatch, by_expression)):
            raise InputError(
                f"{folder} has a tree for each annotator; give one of them, such as {folder}/{min(by_expression)}"
            )
        if label_maps and by_expression:
            forms = "<video>/<frame>.png and <video>/<expression>/<frame>.png"
            raise InputError(f"{folder} mixes {forms}; separate the two forms")
        if label_maps and others:
            raise InputError(f"{others[0]} has pictures that are not PNGs; {SAVE_AS_PNG}")
        return cls(folder, bool(label_maps), label_maps or by_expression) if label_maps or by_expression else None

    def read(self, reading: PngReading) -> Iterator[tuple[tuple[str, ...], TreeFrame]]:
        """Yield video (and expression) with each PNG, by index. Raises InputError if one cannot be read."""
        folders = [(video, *expression) for video in sorted(self.videos) for expression in self._folders_of(video)]
        files = [(path, *numbered) for path in folders for numbered in list_pngs(storage.join(self.folder, *path))]
        frames = bounded_map(self._read_frame, files, reading.workers)
        for number, (file, frame) in enumerate(zip(files, frames, strict=True), 1):
            if reading.on_progress is not None:
                reading.on_progress(number, len(files))
            yield file[0], frame

    def _folders_of(self, video: str) -> list[tuple[str, ...]]:
        return [()] if self.are_objects else [(expression,) for expression in self.videos[video]]

    def _read_frame(self, file: tuple[tuple[str, ...], int, str]) -> TreeFrame:
        path, index, name = file
        try:
            return read_frame(storage.join(self.folder, *path, name), index, binary=not self.are_objects)
        except MediaError as error:
            raise InputError(str(error)) from None


def read_frame(uri: str, index: int, *, binary: bool) -> TreeFrame:
    """Read one PNG: a label map, or with `binary` the mask of one object. Raises MediaError if that fails."""
    values, pixel_format = read_png(uri, binary=binary)
    height, width = values.shape
    try:
        found = encode_values(values)
    except ValueError as error:
        raise MediaError("corrupt", f"{uri}: {error}; replace the mask") from None
    top, pixels = max(found, default=0), {value: mask.pixels for value, mask in found.items()}
    strings = {value: mask.counts for value, mask in found.items()}
    half = None
    if len(found) > 1 and pixel_format != PALETTE and top >= half_of(top):
        half = encode_values(values >= half_of(top))[1].counts
    if binary and found:
        strings = {1: strings[top] if len(found) == 1 else encode_values(values > 0)[1].counts}
    elif len(found) > MOST_LABELS and is_soft(pixels, [pixel_format]):
        strings = {}
    return TreeFrame(index, storage.file_name(uri)[: -len(SUFFIX)], height, width, pixels, strings, half, pixel_format)


def is_png(name: str) -> bool:
    """Return True for the file name of a PNG that is not hidden."""
    return name.lower().endswith(SUFFIX) and not name.startswith(".")


def list_pngs(folder: str) -> list[tuple[int, str]]:
    """Return the PNGs of a folder, by index: the number in the name, or the position if a name is not a number.

    Positions are those of the natural order (2 before 10), as of the frames of a video.

    Raises InputError if two files have the same stem, or if there are masks of another form.
    """
    files = sorted(filter(is_png, storage.names(folder)), key=lambda file: natural_order(file[: -len(SUFFIX)]))
    stems = [file[: -len(SUFFIX)] for file in files]
    others = [name for name in storage.names(folder) if name.lower().endswith(SUFFIXES) and not is_png(name)]
    if left_out := [name for name in others if name.rpartition(".")[0] not in stems and not is_cover(name)]:
        raise InputError(f"{folder} has masks that are not PNGs, such as {left_out[0]}; {SAVE_AS_PNG}")
    for stem, count in Counter(stems).items():
        if count > 1:
            raise InputError(
                f"{folder} has {count} masks named {stem}, whose suffixes differ in case; keep one of them"
            )
    numbered = all(map(is_number, stems))
    return sorted((int(stem) if numbered else n, file) for n, (stem, file) in enumerate(zip(stems, files, strict=True)))
