"""Trees of PNG masks, the form in which results are exchanged: label maps, or one folder for each expression."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.encode_values import encode_values
from pipeline.masks.frame_numbers import is_number
from pipeline.masks.label_doubts import Ends, ends_of
from pipeline.masks.mask_values import MOST_LABELS, is_soft
from pipeline.masks.png_file import DAVIS_COLOURS, PALETTE, SAVE_AS_PNG, read_png
from pipeline.masks.value_groups import MOST_SMALL_IDS, VOID_ID, full_scale, half_of
from pipeline.video.folder import in_order, is_cover
from pipeline.video.picture import SUFFIXES, UNREADABLE_SUFFIXES
from schemas.errors import InputError, MediaError

SUFFIX = ".png"
NOT_READ = (*SUFFIXES, *UNREADABLE_SUFFIXES, ".gif", ".npy", ".npz")  # masks of other forms, unless they are PNGs
FLAT = 20  # parts of the full scale by which neighbours in noise differ at most; those across edges differ by more
LEAST_SIDE = 16  # pixels; in smaller label maps, hardly a pixel is surrounded by others
NO_CUTS: Mapping[tuple[str, ...], int] = MappingProxyType({})
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
    cut: int  # least value of `upper`
    upper: bytes | None  # RLE of the pixels from the cut on, if there are several values and one of them reaches it
    inner: dict[int, int] | None  # by value, the pixels that all four neighbours equal; None for small images
    flat: dict[int, int]  # by gray value, the pixels that all four neighbours nearly equal; {} if the values are few
    pixel_format: str
    ends: Ends  # of labels from 2 on, see `ends_of`; empty for masks of one object, and if there are too many values


class BrokenPng(NamedTuple):
    """One PNG that cannot be read: video (and expression), index and name as of `TreeFrame`, and the reason."""

    path: tuple[str, ...]
    index: int
    name: str
    problem: str


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

    def read(
        self,
        reading: PngReading,
        cuts: Mapping[tuple[str, ...], int] = NO_CUTS,
        on_broken: Callable[[BrokenPng], None] | None = None,
    ) -> Iterator[tuple[tuple[str, ...], TreeFrame]]:
        """Yield video (and expression) with each PNG, by index.

        cuts: least value of the object, of folders where it is not half of the full scale. Files that cannot be read
        are given to `on_broken`. Without it, raises InputError.
        """
        files = [(path, *numbered) for path in self.paths() for numbered in list_pngs(storage.join(self.folder, *path))]
        frames = bounded_map(lambda file: self._read_frame(file, cuts.get(file[0])), files, reading.workers)
        for number, (file, frame) in enumerate(zip(files, frames, strict=True), 1):
            if reading.on_progress is not None:
                reading.on_progress(number, len(files))
            if isinstance(frame, TreeFrame):
                yield file[0], frame
            elif on_broken is None:
                raise InputError(frame.problem)
            else:
                on_broken(frame)

    def paths(self) -> list[tuple[str, ...]]:
        """Return video (and expression) of each folder of masks, in order of videos."""
        if self.are_objects:
            return [(video,) for video in sorted(self.videos)]
        return [(video, expression) for video in sorted(self.videos) for expression in self.videos[video]]

    def only(self, paths: Iterable[tuple[str, ...]]) -> "PngTree":
        """Return the tree with some of its folders."""
        videos: dict[str, tuple[str, ...]] = {}
        for video, *expression in paths:
            videos[video] = (*videos.get(video, ()), *expression)
        return replace(self, videos=videos)

    def _read_frame(self, file: tuple[tuple[str, ...], int, str], cut: int | None) -> TreeFrame | BrokenPng:
        path, index, name = file
        try:
            return read_frame(storage.join(self.folder, *path, name), index, binary=not self.are_objects, cut=cut)
        except MediaError as error:
            return BrokenPng(path, index, name[: -len(SUFFIX)], str(error))


def read_frame(uri: str, index: int, *, binary: bool, cut: int | None = None) -> TreeFrame:
    """Read one PNG: a label map, or with `binary` the mask of one object. Raises MediaError if that fails.

    cut: least value of the object, where it is not half of the full scale.
    """
    values, pixel_format = read_png(uri, binary=binary)
    height, width = values.shape
    try:
        found = encode_values(values)
    except ValueError as error:
        raise MediaError("corrupt", f"{uri}: {error}; replace the mask") from None
    top, pixels = max(found, default=0), {value: mask.pixels for value, mask in found.items()}
    strings = {value: mask.counts for value, mask in found.items()}
    upper = None
    cut = cut or half_of(top)
    if len(found) > 1 and pixel_format != PALETTE and top >= cut:
        upper = encode_values(values >= cut)[1].counts
    if binary and found:
        strings = {1: strings[top] if len(found) == 1 else encode_values(values > 0)[1].counts}
    elif len(found) > MOST_LABELS and is_soft(pixels, [pixel_format]):
        strings = {}
    inner = _inner(values) if len(found) > 1 and min(height, width) >= LEAST_SIDE else None
    is_gray = len(found) > 1 and top > MOST_SMALL_IDS and pixel_format not in (PALETTE, DAVIS_COLOURS)
    flat = _inner(values, full_scale(top) // FLAT) if is_gray else {}
    name = storage.file_name(uri)[: -len(SUFFIX)]
    are_labels = not binary and values.dtype == np.uint8 and len(found) <= MOST_LABELS
    ends = ends_of(values) if are_labels and any(1 < value < VOID_ID for value in found) else Ends()
    return TreeFrame(index, name, height, width, pixels, strings, cut, upper, inner, flat, pixel_format, ends)


def _inner(values: np.ndarray, tolerance: int = 0) -> dict[int, int]:
    """Return the pixels by value that all four neighbours equal, or differ from by no more than `tolerance`."""
    signed = values.astype(np.int32)
    inside = signed[1:-1, 1:-1]
    near = np.ones(inside.shape, bool)
    for other in (signed[:-2, 1:-1], signed[2:, 1:-1], signed[1:-1, :-2], signed[1:-1, 2:]):
        near &= np.abs(inside - other) <= tolerance
    counted = np.bincount(inside[near])
    return {int(value): int(counted[value]) for value in np.flatnonzero(counted)}


def is_png(name: str) -> bool:
    """Return True for the file name of a PNG that is not hidden."""
    return name.lower().endswith(SUFFIX) and not name.startswith(".")


def list_pngs(folder: str) -> list[tuple[int, str]]:
    """Return the PNGs of a folder, by index: the number in the name, or the position if a name is not a number.

    Positions are those of the frames of a video (2 before 10).

    Raises InputError if two files have the same stem, or if there are masks of another form.
    """
    files = list(filter(is_png, storage.names(folder)))
    place = {stem: n for n, stem in enumerate(in_order({file[: -len(SUFFIX)] for file in files}))}
    files.sort(key=lambda file: (place[file[: -len(SUFFIX)]], file))
    stems = [file[: -len(SUFFIX)] for file in files]
    others = [name for name in storage.names(folder) if name.lower().endswith(NOT_READ) and not is_png(name)]
    if left_out := [name for name in others if name.rpartition(".")[0] not in stems and not is_cover(name)]:
        raise InputError(f"{folder} has masks that are not PNGs, such as {left_out[0]}; {SAVE_AS_PNG}")
    for stem, count in Counter(stems).items():
        if count > 1:
            raise InputError(
                f"{folder} has {count} masks named {stem}, whose suffixes differ in case; keep one of them"
            )
    numbered = all(map(is_number, stems))
    return sorted((int(stem) if numbered else n, file) for n, (stem, file) in enumerate(zip(stems, files, strict=True)))


def masks_by_name(folder: str) -> dict[str, str]:
    """Return the URI of each PNG of a folder by its stem; none if there is no such folder. Raises as `list_pngs`."""
    try:
        files = list_pngs(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {file[: -len(SUFFIX)]: storage.join(folder, file) for _, file in files}
