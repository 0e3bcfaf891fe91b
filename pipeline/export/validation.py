"""The classic mistakes in a submission, anybody's, found before a server refuses it or scores it as zero.

A zip is not trusted: its directory, each file and the pixels of each image are bounded before memory is taken for them,
and nothing is unpacked to disk.
"""

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa

from pipeline.export.all_frames import listed, names_of
from pipeline.export.submission import Server
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.label_maps import decode_mask
from pipeline.video import VideoHeader, probe
from schemas.errors import InputError, MediaError, StorageError

KINDS = {
    "root": "files not where the server looks for them",
    "missing": "masks that should be there",
    "extra": "files that should not be there",
    "size": "masks of another size than the video",
    "values": "masks with several values above 0, or stored with colours, alpha or 16 bits",
    "unreadable": "files that cannot be read",
}
DIRECTORY_BYTES = 2**27  # of the zip's own listing, about 1.4 million files
FILE_BYTES = 2**26  # of one PNG, unpacked
TOTAL_BYTES = 2**38  # of all files, unpacked
SHOWN = 10  # findings of each kind that are kept
DECODERS = 2
NOT_OURS = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")

Size = tuple[int, int]  # height, width
GRAY = "8-bit gray"
DAMAGED = (  # what unpacking raises, whatever the compression
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)
PNG_FORM = slice(24, 26)  # bytes of a PNG: bits, then kind of colour (0 gray, 3 palette)


class Entry(NamedTuple):
    """One mask in the zip."""

    video: str
    expression: str
    frame: str
    file: zipfile.ZipInfo


@dataclass(slots=True)
class Findings:
    """What is wrong: counts by kind, and the first few of each. `notes` are no mistakes, but worth knowing."""

    videos: int = 0
    pairs: int = 0
    files: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str, count: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count
        texts = self.examples.setdefault(kind, [])
        if len(texts) < SHOWN:
            texts.append(text)


def validate(uri: str, server: Server, manifest: pa.Table | None = None) -> Findings:
    """Everything wrong with the zip at `uri` for one server.

    The manifest says which pairs and frames there should be, and, where its videos can be opened, of which size;
    without it the expressions of each video are held against each other. Raises InputError if it is no zip, or one that
    would unpack to absurd sizes.
    """
    found = Findings()
    with storage.open_input(uri) as file:
        try:
            archive = zipfile.ZipFile(_Bounded(file, uri))  # pyright: ignore[reportArgumentType]
        except (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, ValueError) as error:
            raise InputError(f"{uri} is no zip file: {error}") from None
        with archive:
            entries = _entries(archive.infolist(), server, found, uri)
            by_video: dict[str, list[Entry]] = {}
            for entry in entries:
                by_video.setdefault(entry.video, []).append(entry)
            found.videos, found.files = len(by_video), len(entries)
            if manifest is None:
                for video, there in by_video.items():
                    _check_video(video, there, None, found)
                sizes = {}
                found.notes.append("no manifest: masks and frames are held against those of the same video in the zip")
            else:
                sizes = _check_videos(by_video, _wanted(manifest), found)
            _check_images(archive, by_video, sizes, found)
    if not found.files:
        found.add("missing", "there is no mask in the zip at all")
    found.notes += server.beside_published(found.videos, found.pairs)
    return found


class _Bounded:
    """A file of which nobody reads more than DIRECTORY_BYTES at once, since a zip's listing is read as a whole.

    Nor does anybody go to places outside it, which a listing may name.
    """

    def __init__(self, file: BinaryIO, uri: str):
        self.tell, self.seekable = file.tell, file.seekable
        self._file, self._uri, self._size = file, uri, file.seek(0, io.SEEK_END)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and not 0 <= offset <= self._size:
            raise zipfile.BadZipFile("its listing points outside the file")
        return self._file.seek(offset, whence)

    def read(self, size: int = -1) -> bytes:
        if size > DIRECTORY_BYTES:
            raise InputError(f"{self._uri}: the listing alone takes {size} bytes; this is no submission")
        return self._file.read(size)


def _entries(files: Sequence[zipfile.ZipInfo], server: Server, found: Findings, uri: str) -> list[Entry]:
    """The masks in the zip in order, wherever they lie; what is wrong with names and places is noted."""
    total = sum(file.file_size for file in files)
    if total > TOTAL_BYTES:
        raise InputError(f"{uri} would unpack to {total / 2**30:,.0f} GiB; this is no submission")
    masks: dict[str, Entry] = {}
    elsewhere: Counter[str] = Counter()
    for file in files:
        name = file.filename
        if file.is_dir() and not _leads_out(name):
            continue
        *parents, last = name.split("/")
        if problem := _strange(file, parents, last):
            found.add("extra", f"{name!r}: {problem}")
        elif name in masks:
            found.add("extra", f"{name!r} is in the zip twice")
        elif len(parents) < 2 + (parents[:1] == [server.root]):
            found.add("root", f"{name!r}: needed is {server.path('VIDEO', 'EXPRESSION', 'FRAME')}")
        else:
            masks[name] = Entry(parents[-2], parents[-1], last[: -len(".png")], file)
            elsewhere["/".join(parents[:-2])] += 1
    for root, count in sorted(elsewhere.items()):
        if root != server.root:
            where = f"below {root + '/'!r}" if root else "in the zip itself"
            needed = f"below {server.root + '/'!r}" if server.root else "in the zip itself"
            found.add("root", f"{count} masks lie {where}; the videos' folders must lie {needed}", count)
    return sorted(masks.values(), key=lambda entry: entry[:3])


def _strange(file: zipfile.ZipInfo, parents: list[str], last: str) -> str | None:
    """What is wrong with a file by its name and kind alone."""
    if _leads_out(file.filename):
        return "the name leads out of the folder that it is unpacked to"
    if any(part in NOT_OURS or part.startswith("._") for part in (*parents, last)):
        return "left by the operating system; zip without it"
    if stat.S_ISLNK(file.external_attr >> 16):
        return "a link, not a file"
    if not last.endswith(".png"):
        return "not a .png file"
    return None


def _leads_out(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    return ".." in parts or "" in parts or "\\" in name


class Asked(NamedTuple):
    """A video of the manifest."""

    uri: str
    num_frames: int | None
    expressions: dict[str, frozenset | None]  # frames that each lists, by name or by index; None: all


def _wanted(manifest: pa.Table) -> dict[str, Asked]:
    columns = ["video_id", "video_uri", "num_frames", "expression_id", "frames", "frame_indices", "target_frames"]
    rows = manifest.select([name for name in columns if name in manifest.column_names])
    wanted: dict[str, Asked] = {}
    lists: dict[tuple, frozenset] = {}  # all expressions of a video share one
    for batch in rows.to_batches(4096):
        for row in batch.to_pylist():
            found = listed(row)
            frames = None if found is None else lists.setdefault(tuple(found), frozenset(found))
            video = wanted.setdefault(row["video_id"], Asked(row["video_uri"], row.get("num_frames"), {}))
            video.expressions[row["expression_id"]] = frames
    return wanted


def _check_videos(by_video: dict[str, list[Entry]], wanted: dict[str, Asked], found: Findings) -> dict[str, Size]:
    """All videos of the zip and of the manifest; the sizes of those that could be opened."""
    sizes: dict[str, Size] = {}
    for video in sorted(by_video.keys() | wanted.keys()):
        asked, there = wanted.get(video), by_video.get(video, [])
        if asked is None:
            found.add("extra", f"video {video}: the manifest has no such video", len(there))
            found.pairs += len({entry.expression for entry in there})
            continue
        header = _header(asked.uri)
        if header is not None:
            sizes[video] = header.height, header.width
        names = {expression: _names(frames, header, asked) for expression, frames in asked.expressions.items()}
        if there:
            _check_video(video, there, names, found)
        else:
            masks = sum(1 if frames is None else len(frames) for frames in names.values())
            found.add("missing", f"video {video}: none of its {len(names)} expressions is there", masks)
    if unknown := len(wanted) - len(sizes):
        held = "their masks are held against the first of each, and their frames against each other"
        found.notes.append(f"{unknown} videos could not be opened; {held}")
    return sizes


def _header(uri: str) -> VideoHeader | None:
    try:
        return probe(uri)
    except MediaError:
        return None


def _names(frames: frozenset | None, header: VideoHeader | None, asked: Asked) -> frozenset[str] | None:
    """Names of the frames that one expression lists, by default all; None if nobody knows them."""
    if frames is not None and all(isinstance(frame, str) for frame in frames):
        return frames
    if header is None:
        return None
    count = header.num_frames or asked.num_frames
    indices = range(count) if frames is None and count is not None else frames
    return None if indices is None else frozenset(names_of(indices, header))


def _check_video(
    video: str, entries: list[Entry], expected: dict[str, frozenset[str] | None] | None, found: Findings
) -> None:
    """Which expressions and frames of one video are missing, or too many; `expected` is None if there is no manifest.

    Of expressions whose frames are not known, those that any expression has are expected.
    """
    there: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        there[entry.expression].add(entry.frame)
    found.pairs += len(there)
    expected = dict.fromkeys(there) if expected is None else expected
    union = frozenset().union(*there.values())
    for expression in sorted({*expected, *there}):
        where = f"video {video} expression {expression}"
        if expression not in expected:
            found.add("extra", f"{where}: the manifest has no such expression", len(there[expression]))
            continue
        asked = expected[expression]
        frames = union if asked is None else asked
        absent, more = sorted(frames - there[expression]), sorted(there[expression] - frames)
        if absent:
            found.add(
                "missing", f"{where}: {len(absent)} of {len(frames)} frames, the first is {absent[0]}", len(absent)
            )
        if more:
            found.add("extra", f"{where}: {len(more)} frames not asked for, the first is {more[0]}", len(more))


class Seen(NamedTuple):
    """What is in one mask: its size, the values above 0, and as what it is stored."""

    size: Size
    inside: list[int]
    form: str


def _check_images(
    archive: zipfile.ZipFile, by_video: dict[str, list[Entry]], sizes: dict[str, Size], found: Findings
) -> None:
    """Open every mask, one at a time: its size, and that it is binary."""
    foreground: Counter[int] = Counter()
    forms: Counter[str] = Counter()
    for video, entries in by_video.items():
        size = sizes.get(video)
        looked = bounded_map(lambda entry: _look(archive, entry), entries, DECODERS)
        for entry, seen in zip(entries, looked, strict=True):
            if isinstance(seen, str):
                kind, _, text = seen.partition(": ")
                found.add(kind, f"{entry.file.filename}: {text}")
                continue
            size = size or seen.size
            if seen.size != size:
                text = f"{seen.size[1]}x{seen.size[0]}, the video is {size[1]}x{size[0]}"
                found.add("size", f"{entry.file.filename}: {text}")
            inside = seen.inside
            if len(inside) > 1:
                text = f"{len(inside)} values above 0 ({', '.join(map(str, inside[:5]))} ...); masks have one"
                found.add("values", f"{entry.file.filename}: {text}")
            forms[seen.form] += 1
            foreground.update(inside if len(inside) == 1 and seen.form == GRAY else [])
    if odd := {value: count for value, count in foreground.items() if value != 255}:
        text = ", ".join(f"{value} in {count} masks" for value, count in sorted(odd.items()))
        found.notes.append(f"foreground is not 255: {text}; servers take any value above 0, viewers show it as black")
    for form, count in sorted(forms.items()):
        if form != GRAY:
            found.notes.append(f"{count} masks are {form}, not {GRAY}; servers that look at colours see others")


def _look(archive: zipfile.ZipFile, entry: Entry) -> Seen | str:
    """What is in one mask, or "KIND: what is wrong"."""
    file = entry.file
    if file.flag_bits & 1:
        return "unreadable: it is encrypted"
    if file.file_size > FILE_BYTES:
        return f"unreadable: it would unpack to {file.file_size} bytes, which is no mask"
    try:
        with archive.open(file) as opened:
            content = opened.read(file.file_size + 1)  # never more, though the file may unpack to more than it says
    except StorageError:
        raise
    except DAMAGED as error:
        return f"unreadable: {error}"
    try:
        mask = decode_mask(content, "")
    except MediaError as error:
        text = error.reason.removeprefix(": ")
        if text.startswith("mask of mode"):
            return f"values: {text.partition(';')[0]}; needed is {GRAY}"
        return f"unreadable: {text}"
    bits, colour = content[PNG_FORM]
    form = "palette images" if colour == 3 else f"{bits}-bit gray"
    inside = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)[1:]) + 1
    return Seen(mask.shape, inside.tolist(), form)  # pyright: ignore[reportArgumentType]
