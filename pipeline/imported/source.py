"""Masks of another tool: a tree of PNGs, tables or JSON results, read by some pairs at a time."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.imported import json_results
from pipeline.io import output_folder, parquet, storage
from pipeline.io.private_folder import private_folder
from pipeline.masks.by_video import sorted_pairs
from pipeline.masks.frame_numbers import is_number
from pipeline.masks.label_agreement import shifted_labels
from pipeline.masks.label_doubts import Ends
from pipeline.masks.pairs_to_score import MaskKey, objects_of_videos, pairs_from_manifest, requested_pairs
from pipeline.masks.png_trees import BrokenPng, PngReading, PngTree, TreeFrame
from pipeline.masks.predictions import ParquetPredictions, open_predictions
from pipeline.masks.row_groups import LEAST_SCORES, RowGroup, read_row_groups, require_scores
from pipeline.masks.table_order import require_column_order
from pipeline.masks.task_planning import locate
from pipeline.masks.tree_masks import TreeMasks
from pipeline.runs.run_json import is_run
from schemas.check import conform, required
from schemas.errors import ImplausibleError, InputError
from schemas.json_text import parse_object
from schemas.masks import PREDICTIONS
from schemas.pair import PAIR_COLUMNS, PairKey

JSON = ".json"
FORMS = "a tree of PNGs, a Parquet file or a folder of them, or a JSON file of results; see docs/import-masks.md"
NO_PAIR_IN_COMMON = "no pair of the manifest has masks in"
READ_BACK = ("davis",)  # forms of exports that are folders
MAX_DOCUMENT = 2**20  # bytes
FORCE = "correct them, or import them as they are with --force"


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSource:
    """Tables of PREDICTIONS. Memory is the place of each pair. `is_json`: made of JSON results, where frames without a
    name are numbered in the order of the manifest's frames, not of the video's, and null masks are empty."""

    uri: str
    digest: str
    located: Mapping[MaskKey, list[RowGroup]]
    is_json: bool = False
    meaning = "RLE"
    are_objects = False

    def pairs(self) -> set[MaskKey]:
        """Return all pairs that have masks."""
        return set(self.located)

    def read(self, rows: pa.Table) -> dict[PairKey, pa.Table]:
        """Return the rows of these pairs of the manifest, of those that have any. Raises InputError."""
        wanted = set(PairKey.of_all(rows))
        groups = sorted({group for key in wanted for group in self.located.get(key, ())})
        table = read_row_groups(groups, {video for video, _ in wanted}, require_rows=False)
        return {key: found for key, found in sorted_pairs(table) if key in wanted}


@dataclass(frozen=True, kw_only=True, slots=True)
class TreeSource:
    """A tree of PNGs that was looked through once, for the meaning of its values. `found` holds no masks."""

    uri: str
    digest: str
    tree: PngTree
    found: TreeMasks
    reading: PngReading
    unnumbered: str | None = None  # a frame name that is not a number
    is_json = False

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

    def read(self, rows: pa.Table) -> dict[PairKey, pa.Table]:
        """Return the rows as `TableSource.read`; a PNG that cannot be read is an error row of each of its pairs.

        Label maps show a pair the union of its objects.
        """
        asked = requested_pairs(pairs_from_manifest(rows, {}, "object_id"), "object_id", 1)
        videos: dict[str, tuple[str, ...]] = {}
        for pair in asked:
            known = self.tree.videos.get(pair.video_id)
            if known is not None and (self.tree.are_objects or pair.key[1] in known):
                own = () if self.tree.are_objects else (pair.key[1],)
                videos[pair.video_id] = (*videos.get(pair.video_id, ()), *own)
        frames: dict[tuple[str, ...], list[TreeFrame]] = defaultdict(list)
        broken: list[BrokenPng] = []
        tree = replace(self.tree, videos=videos)
        for path, frame in tree.read(self.reading, self.found.thresholds(tree.paths()), broken.append):
            frames[path].append(frame)
        masks = replace(self.found, frames=frames)
        readable = {path[0] for path in frames}
        table = masks.read_rows([RowGroup(video, 0) for video in videos if video in readable], asked)
        failed = [
            PairKey(*pair.key)._asdict()
            | {"frame_index": png.index, "frame_name": png.name, "status": "corrupt", "error": png.problem}
            for png in broken
            for pair in asked
            if png.path == (pair.key if len(png.path) > 1 else (pair.video_id,))
        ]
        table = pa.concat_tables([table, pa.Table.from_pylist(failed, schema=PREDICTIONS)])
        return dict(sorted_pairs(table))


Source = TableSource | TreeSource


@contextmanager
def open_source(uri: str, manifest: pa.Table, reading: PngReading, *, force: bool = False) -> Iterator[Source]:
    """Open the masks at `uri`, for the pairs of a manifest.

    All files are read once, for the digest and the meaning of PNGs. Raises InputError if they are not masks or fit no
    pair, ImplausibleError if label maps show none of the manifest's objects, or (unless `force`) the runs of RLE look
    as if counted along rows.
    """
    uri = _results_in(storage.absolute(uri))
    if is_run(uri):
        raise InputError(f"{uri} is a run already; give it to the commands as it is")
    expressions: dict[str, list[str]] = defaultdict(list)
    for video, expression in PairKey.of_all(manifest):
        expressions[video].append(expression)
    if uri.lower().endswith(JSON) and storage.exists(uri):
        with private_folder() as folder:
            path = storage.join(folder, "masks.parquet")
            json_results.write_table(uri, expressions, path)
            _require_order(uri, [path], force=force)
            located = locate(ParquetPredictions((path,)))
            source = TableSource(uri=uri, digest=_digest([uri]), located=located, is_json=True)
            _require_common(source, expressions, manifest, force=force)
            yield source
        return
    found = open_predictions(uri)
    if isinstance(found, ParquetPredictions):
        _require_order(uri, found.uris, force=force)
        source = TableSource(uri=uri, digest=_digest(found.uris), located=locate(found))
        for table in found.uris:
            _require_scores(table)
    else:
        source = _look_through(uri, found, manifest, reading, force=force)
    _require_common(source, expressions, manifest, force=force)
    yield source


def _results_in(uri: str) -> str:
    """Return the JSON file in a folder that holds nothing else with masks, else `uri`. Raises InputError for several.

    Raises InputError as well if nothing is there.
    """
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"nothing at {uri}; give {FORMS}")
        return uri
    _refuse_export(uri)
    names = [name for name in storage.names(uri) if name.lower().endswith(JSON)]
    if not names or is_run(uri) or any(name.endswith(".parquet") for name in storage.names(uri)) or PngTree.find(uri):
        return uri
    if len(names) > 1:
        first = storage.join(uri, names[0])
        raise InputError(f"{uri} holds {len(names)} JSON files; give one of them, such as {first}")
    return storage.join(uri, names[0])


def _refuse_export(folder: str) -> None:
    """Raise InputError if a folder is an export whose form is not read back, or one that is not finished."""
    document = storage.join(folder, output_folder.DOCUMENT)
    if not storage.exists(document):
        return
    try:
        found = parse_object(storage.read_bytes(document, limit=MAX_DOCUMENT))
    except ValueError:
        return
    form = found.get("form")
    if isinstance(form, str) and form not in READ_BACK:
        advice = "give the run itself, or export it as coco-video or submission"
        raise InputError(f"{folder} is an export of the form {form}, which is not read back; {advice}")
    if form is not None and not found.get("complete"):
        raise InputError(f"{folder} is an export that did not finish; repeat 'rvos export'")


def _require_scores(uri: str) -> None:
    """Raise InputError for a score that is NaN or out of its range, before a run is begun."""
    with parquet.open_file(uri) as file:
        names = file.schema_arrow.names
        columns = [name for name in (*PAIR_COLUMNS, "frame_index", *LEAST_SCORES) if name in names]
        for group in range(file.num_row_groups) if not LEAST_SCORES.keys().isdisjoint(columns) else ():
            schema = pa.schema([PREDICTIONS.field(name) for name in columns], metadata=required(*PAIR_COLUMNS))
            require_scores(conform(file.read_row_group(group, columns), schema, uri), uri)


def _require_order(uri: str, tables: Sequence[str], *, force: bool) -> None:
    try:
        require_column_order(uri, tables, force=force)
    except ImplausibleError as error:
        raise ImplausibleError(f"{error}\n{FORCE}") from None


def _look_through(uri: str, tree: PngTree, manifest: pa.Table, reading: PngReading, *, force: bool) -> TreeSource:
    """Read all PNGs, and keep of each folder one frame of each sort: its values without their masks."""
    digest, kept, broken = hashlib.sha256(), {}, list[BrokenPng]()
    for path, frame in tree.read(reading, on_broken=broken.append):
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
        ends = frame.ends + (same.ends if same else Ends())
        kept[path, sort] = frame._replace(
            height=height, pixels=pixels, strings=strings, upper=upper, inner=inner, flat=flat, ends=ends
        )
    digest.update(repr([(png.path, png.name) for png in broken]).encode() if broken else b"")
    frames: dict[tuple[str, ...], list[TreeFrame]] = defaultdict(list)
    for (path, _), frame in kept.items():
        frames[path].append(frame)
    if broken and not frames:
        raise InputError(f"none of the {len(broken)} PNGs in {uri} can be read; the first: {broken[0].problem}")
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


def _require_common(source: Source, expressions: Mapping[str, list[str]], manifest: pa.Table, *, force: bool) -> None:
    """Raise InputError if no pair is in common, ImplausibleError (unless `force`) if all expression ids are shifted."""
    found = source.pairs()
    if isinstance(source, TreeSource) and source.are_objects:
        if expressions.keys() & source.tree.videos.keys():
            return
    elif any(key in found for key in PairKey.of_all(manifest.select(["video_id", "expression_id"]))):
        of_video: dict[str, set[str]] = defaultdict(set)
        for video, expression in found:
            of_video[video].add(expression)
        shifted = shifted_labels(of_video, expressions, "expression ids", "expressions in the manifest")
        if shifted and not force:
            raise ImplausibleError(f"{source.uri}: {shifted}\n{FORCE}")
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
