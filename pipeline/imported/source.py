"""Masks of another tool: a tree of PNGs, tables or JSON results, read by some pairs at a time."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.imported import json_results
from pipeline.io import storage
from pipeline.io.private_folder import private_folder
from pipeline.masks.by_video import PairMasks, sorted_pairs
from pipeline.masks.frame_numbers import is_number
from pipeline.masks.pairs_to_score import MaskKey, objects_of_videos, pairs_from_manifest, requested_pairs
from pipeline.masks.png_trees import PngReading, PngTree, TreeFrame
from pipeline.masks.predictions import ParquetPredictions, open_predictions
from pipeline.masks.row_groups import RowGroup, read_row_groups
from pipeline.masks.table_order import require_column_order
from pipeline.masks.task_planning import locate
from pipeline.masks.tree_masks import TreeMasks
from pipeline.runs.run import is_run
from schemas.errors import ImplausibleError, InputError
from schemas.pair import PairKey

NO_PAIR_IN_COMMON = "no pair of the manifest has masks in"
FORCE = "correct them, or import them as they are with --force"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """Tables of PREDICTIONS. Memory is the place of each pair. `in_order`: frames without a name are numbered in the
    order of the manifest's frames, not of the video's."""

    uri: str
    digest: str
    located: Mapping[MaskKey, list[RowGroup]]
    in_order: bool = False
    meaning = "RLE"
    are_objects = False

    def pairs(self) -> set[MaskKey]:
        """Return all pairs that have masks."""
        return set(self.located)

    def read(self, rows: pa.Table) -> dict[PairKey, PairMasks]:
        """Return the masks of these rows of the manifest, of those that have any. Raises InputError."""
        by_key = {PairKey.of(row): row for row in rows.to_pylist()}
        groups = sorted({group for key in by_key for group in self.located.get(key, ())})
        table = read_row_groups(groups, {video for video, _ in by_key})
        return {key: PairMasks.of(by_key[key], found) for key, found in sorted_pairs(table) if key in by_key}


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSource:
    """A tree of PNGs that was looked through once, for the meaning of its values. `found` holds no masks."""

    uri: str
    digest: str
    tree: PngTree
    found: TreeMasks
    reading: PngReading
    unnumbered: str | None = None  # a frame name that is not a number
    in_order = False

    @property
    def are_objects(self) -> bool:
        """True for label maps."""
        return self.tree.are_objects

    @property
    def meaning(self) -> str:
        text = self.found.meaning.text
        if self.unnumbered is None:
            return text
        return f"{text}; names such as {self.unnumbered} are not numbers: in video files, masks count in natural order"

    def pairs(self) -> set[MaskKey]:
        """Return all pairs that have masks; of label maps, each object as one."""
        return {(video, key) for video, keys in self.found.keys_by_video().items() for key in keys}

    def read(self, rows: pa.Table) -> dict[PairKey, PairMasks]:
        """Return the masks as `TableSource.read`. Label maps show a pair the union of its objects."""
        asked = requested_pairs(pairs_from_manifest(rows, {}, "object_id"), "object_id", 1)
        videos: dict[str, tuple[str, ...]] = {}
        for pair in asked:
            known = self.tree.videos.get(pair.video_id)
            if known is not None and (self.tree.are_objects or pair.key[1] in known):
                own = () if self.tree.are_objects else (pair.key[1],)
                videos[pair.video_id] = (*videos.get(pair.video_id, ()), *own)
        frames: dict[tuple[str, ...], list[TreeFrame]] = defaultdict(list)
        tree = replace(self.tree, videos=videos)
        for path, frame in tree.read(self.reading, self.found.thresholds(tree.paths())):
            frames[path].append(frame)
        masks = replace(self.found, frames=frames)
        table = masks.read_rows([RowGroup(video, 0) for video in videos], asked)
        by_key = {PairKey.of(row): row for row in rows.to_pylist()}
        return {key: PairMasks.of(by_key[key], found) for key, found in sorted_pairs(table)}


Source = TableSource | TreeSource


@contextmanager
def open_source(uri: str, manifest: pa.Table, reading: PngReading, *, force: bool = False) -> Iterator[Source]:
    """Open the masks at `uri`, for the pairs of a manifest.

    All files are read once, for the digest and the meaning of PNGs. Raises InputError if they are not masks or fit no
    pair, ImplausibleError if label maps show none of the manifest's objects, or (unless `force`) the runs of RLE look
    as if counted along rows.
    """
    uri = storage.absolute(uri)
    if is_run(uri):
        raise InputError(f"{uri} is a run already; give it to the commands as it is")
    expressions: dict[str, list[str]] = defaultdict(list)
    for video, expression in PairKey.of_all(manifest):
        expressions[video].append(expression)
    if uri.lower().endswith(".json") and storage.exists(uri):
        with private_folder() as folder:
            path = storage.join(folder, "masks.parquet")
            json_results.write_table(uri, expressions, path)
            _require_order(uri, [path], force=force)
            located = locate(ParquetPredictions((path,)))
            source = TableSource(uri=uri, digest=_digest([uri]), located=located, in_order=True)
            _require_common(source, expressions, manifest)
            yield source
        return
    found = open_predictions(uri)
    if isinstance(found, ParquetPredictions):
        _require_order(uri, found.uris, force=force)
        source = TableSource(uri=uri, digest=_digest(found.uris), located=locate(found))
    else:
        source = _look_through(uri, found, manifest, reading, force=force)
    _require_common(source, expressions, manifest)
    yield source


def _require_order(uri: str, tables: Sequence[str], *, force: bool) -> None:
    try:
        require_column_order(uri, tables, force=force)
    except ImplausibleError as error:
        raise ImplausibleError(f"{error}\n{FORCE}") from None


def _look_through(uri: str, tree: PngTree, manifest: pa.Table, reading: PngReading, *, force: bool) -> TreeSource:
    """Read all PNGs, and keep of each folder one frame of each sort: its values without their masks."""
    digest, kept = hashlib.sha256(), {}
    for path, frame in tree.read(reading):
        masks = (frame.name, frame.height, frame.width, frame.pixels, frame.strings, frame.upper)
        digest.update(repr((path, masks)).encode())
        sort = (*path, *frame.strings), frame.pixel_format, frame.upper is not None, tuple(frame.pixels)
        same = kept.get((path, sort))
        pixels = {value: count + (same.pixels[value] if same else 0) for value, count in frame.pixels.items()}
        strings = dict.fromkeys(frame.strings, b"0")
        height = frame.height + (same.height if same else 0)  # as if they were one picture below the other
        upper = None if frame.upper is None else b"0"
        inner = frame.inner and Counter(frame.inner) + Counter(same.inner if same else None)
        flat = Counter(frame.flat) + Counter(same.flat if same else None)
        kept[path, sort] = frame._replace(
            height=height, pixels=pixels, strings=strings, upper=upper, inner=inner, flat=flat
        )
    frames: dict[tuple[str, ...], list[TreeFrame]] = defaultdict(list)
    for (path, _), frame in kept.items():
        frames[path].append(frame)
    found = TreeMasks.of(tree.folder, tree.are_objects, frames).with_doubts()
    if not any(frame.pixels for of_path in frames.values() for frame in of_path):
        raise InputError(f"{uri} shows no object in any mask ({found.meaning.text}); are these the masks?")
    if tree.are_objects:
        _require_objects(manifest, tree)
        try:
            found = found.with_objects(objects_of_videos(manifest))
        except ImplausibleError as error:
            if not force:
                raise ImplausibleError(f"{error}\n{FORCE}") from None
    names = (frame.name for of_path in frames.values() for frame in of_path)
    unnumbered = next((name for name in names if not is_number(name)), None)
    return TreeSource(
        uri=uri, digest=digest.hexdigest(), tree=tree, found=found, reading=reading, unnumbered=unnumbered
    )


def _require_objects(manifest: pa.Table, tree: PngTree) -> None:
    """Raise InputError for a pair of a video of the label maps whose objects are unknown."""
    names = [name for name in ("video_id", "expression_id", "object_ids") if name in manifest.column_names]
    for row in manifest.select(names).to_pylist():
        if row.get("object_ids") is None and row["video_id"] in tree.videos:
            text = f"object_ids is null, but the label maps of {tree.folder} show objects; add object_ids"
            raise InputError(f"{PairKey.of(row)}: {text} to the manifest")


def _require_common(source: Source, expressions: Mapping[str, list[str]], manifest: pa.Table) -> None:
    found = source.pairs()
    if isinstance(source, TreeSource) and source.are_objects:
        if expressions.keys() & source.tree.videos.keys():
            return
    elif any(key in found for key in PairKey.of_all(manifest.select(["video_id", "expression_id"]))):
        return
    if not found:
        raise InputError(f"{source.uri} holds no masks")
    theirs, ours = PairKey(*min(found)), next(iter(PairKey.of_all(manifest.slice(0, 1))))
    raise InputError(f"{NO_PAIR_IN_COMMON} {source.uri}; in the manifest: {ours}; in the masks: {theirs}")


def _digest(uris: Iterable[str]) -> str:
    """Return a hash of the content of some files."""
    digest = hashlib.sha256()
    for uri in sorted(uris):
        with storage.open_input(uri) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())  # pyright: ignore[reportArgumentType]
    return digest.hexdigest()


def extra_pairs(source: Source, manifest: pa.Table) -> list[PairKey]:
    """Return the pairs (of label maps: the videos, without expression) that have masks and are not in the manifest."""
    if isinstance(source, TreeSource) and source.are_objects:
        known = set(pc.unique(manifest["video_id"]).to_pylist())
        return [PairKey(video, "") for video in sorted(source.tree.videos.keys() - known)]
    return [PairKey(*key) for key in sorted(source.pairs() - set(PairKey.of_all(manifest)))]
