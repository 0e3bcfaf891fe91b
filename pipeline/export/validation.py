"""Find the classic mistakes in a submission before a server refuses it or scores it as zero."""

import itertools
import stat
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from pipeline.export.all_frames import FRAME_LISTS, frame_names_at, listed_frames
from pipeline.export.servers import Server
from pipeline.export.submission import path_in_zip
from pipeline.export.untrusted_zip import MaskFault, open_untrusted_zip, read_stored_mask
from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.masks.png_file import GRAY
from pipeline.video import VideoHeader, probe
from schemas.errors import MediaError
from schemas.printable import counted

FAULT_KINDS = {
    "root": "files outside the folder that the server reads",
    "missing": "masks missing",
    "extra": "files too many",
    "size": "masks that differ in size from the video",
    "values": "masks with several values above 0, or with colours, alpha or 16 bits",
    "unreadable": "files that cannot be read",
}
EXAMPLES_KEPT = 10  # of each kind
DECODING_THREADS = 2
SYSTEM_FILES = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


class ZipMask(NamedTuple):
    """One mask in the zip."""

    video: str
    expression: str
    frame: str
    file: zipfile.ZipInfo


class ExpectedVideo(NamedTuple):
    """A video of the manifest, and the frames that each expression lists, by name or by index (None: all)."""

    uri: str
    num_frames: int | None
    expressions: dict[str, frozenset | None]


@dataclass(slots=True)
class Findings:
    """The mistakes of a submission: counts by kind, and the first few of each. `notes` are hints, not mistakes."""

    videos: int = 0
    pairs: int = 0
    files: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, text: str, count: int = 1) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count
        texts = self.examples.setdefault(kind, [])
        if len(texts) < EXAMPLES_KEPT:
            texts.append(text)


def validate_submission(uri: str, server: Server, manifest: pa.Table | None = None) -> Findings:
    """Find every mistake in the zip at `uri` for one server.

    The manifest gives the expected pairs and frames and, where its videos can be opened, their sizes; without it the
    expressions of each video are compared with each other. Raises InputError if the file is not a zip, or one that
    would unpack to an absurd size.
    """
    found = Findings()
    with storage.open_input(uri) as file, open_untrusted_zip(file, uri) as archive:
        masks = _find_masks(archive.infolist(), server, found)
        by_video = {video: list(of_video) for video, of_video in itertools.groupby(masks, lambda mask: mask.video)}
        found.videos, found.files = len(by_video), len(masks)
        sizes: dict[str, tuple[int, int]] = {}
        if manifest is None:
            for video, of_video in by_video.items():
                _check_frames(video, of_video, None, found)
            found.notes.append("no manifest: masks and frames are only compared within each video of the zip")
        else:
            sizes = _check_videos(by_video, _expected_videos(manifest), found)
        _check_pixels(archive, by_video, sizes, found)
    if not found.files:
        found.add("missing", "the zip holds no mask")
    found.notes += server.size_notes(found.videos, found.pairs)
    return found


def _find_masks(files: Sequence[zipfile.ZipInfo], server: Server, found: Findings) -> list[ZipMask]:
    """Return the masks, sorted, wherever they are; report wrong names and folders."""
    masks: dict[str, ZipMask] = {}
    roots: Counter[str] = Counter()
    for file in files:
        name = file.filename
        *parents, last = name.split("/")
        problem = _name_problem(file, parents, last)
        if problem:
            found.add("extra", f"{name!r}: {problem}")
        elif file.is_dir():
            continue
        elif name in masks:
            found.add("extra", f"{name!r}: duplicate name")
        elif len(parents) < 2 + (parents[:1] == [server.root]):
            found.add("root", f"{name!r}: expected {path_in_zip(server, 'VIDEO', 'EXPRESSION', 'FRAME')}")
        else:
            masks[name] = ZipMask(parents[-2], parents[-1], last[: -len(".png")], file)
            roots["/".join(parents[:-2])] += 1
    for root, count in sorted(roots.items()):
        if root != server.root:
            where = f"in {root + '/'!r}" if root else "at the top of the zip"
            expected = f"in {server.root + '/'!r}" if server.root else "at the top of the zip"
            found.add("root", f"{count} masks are {where}; the server reads masks {expected}", count)
    return sorted(masks.values(), key=lambda mask: mask[:3])


def _name_problem(file: zipfile.ZipInfo, parents: list[str], last: str) -> str | None:
    """Return the problem that the name and kind of a file show alone."""
    parts = file.filename.removesuffix("/").split("/")
    if ".." in parts or "" in parts or "\\" in file.filename:
        return "the name leads out of the folder that the zip is unpacked to"
    if file.is_dir():
        return None
    if any(part in SYSTEM_FILES or part.startswith("._") for part in (*parents, last)):
        return "left by the operating system; zip without it"
    if stat.S_ISLNK(file.external_attr >> 16):
        return "a link, not a file"
    return None if last.endswith(".png") else "not a .png file"


def _expected_videos(manifest: pa.Table) -> dict[str, ExpectedVideo]:
    columns = ["video_id", "video_uri", "num_frames", "expression_id", *FRAME_LISTS]
    rows = manifest.select([name for name in columns if name in manifest.column_names])
    videos: dict[str, ExpectedVideo] = {}
    shared: dict[tuple, frozenset] = {}  # the expressions of a video list the same frames: keep one copy
    for batch in rows.to_batches(4096):
        for row in batch.to_pylist():
            listed = listed_frames(row)
            frames = None if listed is None else shared.setdefault(tuple(listed), frozenset(listed))
            video = videos.setdefault(row["video_id"], ExpectedVideo(row["video_uri"], row.get("num_frames"), {}))
            video.expressions[row["expression_id"]] = frames
    return videos


def _check_videos(
    by_video: dict[str, list[ZipMask]], expected: dict[str, ExpectedVideo], found: Findings
) -> dict[str, tuple[int, int]]:
    """Compare the zip with the manifest; return height and width of the videos that could be opened."""
    sizes: dict[str, tuple[int, int]] = {}
    for video in sorted(by_video.keys() | expected.keys()):
        wanted, masks = expected.get(video), by_video.get(video, [])
        if wanted is None:
            found.add("extra", f"video {video}: not in the manifest", len(masks))
            found.pairs += len({mask.expression for mask in masks})
            continue
        try:
            header = probe(wanted.uri)
            sizes[video] = header.height, header.width
        except MediaError:
            header = None
        names = {expression: _frame_names(frames, header, wanted) for expression, frames in wanted.expressions.items()}
        if masks:
            _check_frames(video, masks, names, found)
        else:
            count = sum(1 if frames is None else len(frames) for frames in names.values())
            found.add("missing", f"video {video}: all of its {counted(len(names), 'expression')}", count)
    if unopened := len(expected) - len(sizes):
        text = "the sizes of their masks are compared with the first of each video, their frames with each other"
        found.notes.append(f"{counted(unopened, 'video')} could not be opened; {text}")
    return sizes


def _frame_names(frames: frozenset | None, header: VideoHeader | None, video: ExpectedVideo) -> frozenset[str] | None:
    """Return the names of the frames that an expression lists, by default all; None if they are unknown."""
    if frames is not None and all(isinstance(frame, str) for frame in frames):
        return frames
    if header is None:
        return None
    count = header.num_frames or video.num_frames
    indices = range(count) if frames is None and count is not None else frames
    return None if indices is None else frozenset(frame_names_at(indices, header))


def _check_frames(
    video: str, masks: list[ZipMask], expected: dict[str, frozenset[str] | None] | None, found: Findings
) -> None:
    """Report missing and extra expressions and frames of one video. Without a manifest `expected` is None.

    An expression whose frames are unknown should have every frame that any expression has.
    """
    present: dict[str, set[str]] = defaultdict(set)
    for mask in masks:
        present[mask.expression].add(mask.frame)
    found.pairs += len(present)
    expected = dict.fromkeys(present) if expected is None else expected
    union = frozenset().union(*present.values())
    for expression in sorted({*expected, *present}):
        where = f"video {video} expression {expression}"
        if expression not in expected:
            found.add("extra", f"{where}: not in the manifest", len(present[expression]))
            continue
        listed = expected[expression]
        frames = union if listed is None else listed
        missing, extra = sorted(frames - present[expression]), sorted(present[expression] - frames)
        if missing:
            text = f"{len(missing)} of {len(frames)} frames, the first is {missing[0]}"
            found.add("missing", f"{where}: {text}", len(missing))
        if extra:
            text = f"{len(extra)} frames that were not asked for, the first is {extra[0]}"
            found.add("extra", f"{where}: {text}", len(extra))


def _check_pixels(
    archive: zipfile.ZipFile,
    by_video: dict[str, list[ZipMask]],
    sizes: dict[str, tuple[int, int]],
    found: Findings,
) -> None:
    """Decode every mask, one at a time: it must have the size of its video and one value above 0."""
    foreground: Counter[int] = Counter()
    formats: Counter[str] = Counter()
    for video, masks in by_video.items():
        size = sizes.get(video)
        decoded = bounded_map(lambda mask: read_stored_mask(archive, mask.file), masks, DECODING_THREADS)
        for mask, stored in zip(masks, decoded, strict=True):
            name = mask.file.filename
            if isinstance(stored, MaskFault):
                found.add(stored.kind, f"{name}: {stored.reason}")
                continue
            size = size or stored.size
            if stored.size != size:
                text = f"{stored.size[1]}x{stored.size[0]}, the video is {size[1]}x{size[0]}"
                found.add("size", f"{name}: {text}")
            values = stored.values
            if len(values) > 1:
                text = f"{len(values)} values above 0 ({', '.join(map(str, values[:5]))} ...); a mask has one"
                found.add("values", f"{name}: {text}")
            formats[stored.pixel_format] += 1
            foreground.update(values if len(values) == 1 and stored.pixel_format == GRAY else [])
    if odd := {value: count for value, count in foreground.items() if value != 255}:
        text = ", ".join(f"{value} in {counted(count, 'mask')}" for value, count in sorted(odd.items()))
        found.notes.append(f"foreground is not 255: {text}; servers accept any value above 0, viewers show it as black")
    for pixel_format, count in sorted(formats.items()):
        if pixel_format != GRAY:
            text = f"not {GRAY}; servers that read colours see other values"
            found.notes.append(f"{count} masks are {pixel_format}, {text}")
