"""Write the videos that a data set reader yields: one manifest, and tables of masks if there are masks."""

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.common.dataset_video import ATTRIBUTES_WITH_A_COLUMN, DatasetVideo, once, pair_name
from pipeline.evaluation.protocols import RESERVED
from pipeline.io import checksum, output_folder, parquet, storage
from pipeline.masks.run_order import RunOrder
from schemas.check import Problem
from schemas.errors import InputError
from schemas.json_text import parse_object
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, VOID

MASK_TABLES = {"annotations": ANNOTATIONS, "void": VOID, "foreground": VOID}
MADE_OF = b"refervos.import"  # in the metadata of a table: the options that decide its rows
ROWS_AT_ONCE = 20_000  # held before they are written or packed
Notes = dict[str, tuple[int, str]]  # text -> how often, and the first place
SEVERAL_TYPES = 'attributes with values of several types, such as 1 and "1"; all became text'
RENAMED = "attributes named like a column of the scores; an underscore was appended to their name"


@contextlib.contextmanager
def dataset_writer(out: str, made_of: dict) -> "Iterator[DatasetWriter]":
    """A writer for the folder `out`; its temporary files are removed at the end of the block.

    made_of: the options that decide what is imported, which the tables record. Raises InputError if `out` holds tables
    of other options.
    """
    for name in ("manifest", *MASK_TABLES):
        _require_own(storage.join(out, f"{name}.parquet"), made_of)
    with contextlib.ExitStack() as files:
        yield DatasetWriter(out, files, made_of)


def _require_own(uri: str, made_of: dict) -> None:
    """Raise InputError if `uri` is a file that was not imported with the options `made_of`."""
    if not storage.exists(uri):
        return
    with parquet.open_file(uri) as file:
        text = (file.schema_arrow.metadata or {}).get(MADE_OF)
    try:
        before = None if text is None else parse_object(text)
    except ValueError:
        before = None
    if before is None:
        raise InputError(f"{uri} was not written by this command; choose another folder, or remove it")
    if reason := output_folder.differences(before, made_of):
        raise InputError(f"{uri} was imported with other options ({reason}); choose another folder, or remove it")


class DatasetWriter:
    """Collect the videos of one import and write their tables to the folder `out`.

    Masks go to temporary files video by video; pairs are kept as packed columns. No table is visible before `commit`.
    """

    def __init__(self, out: str, files: contextlib.ExitStack, made_of: dict):
        self.out, self._record = out, {MADE_OF: json.dumps(made_of).encode()}
        self.ids: set[str] = set()
        self.videos = self.pairs = self.objects = 0  # videos: those with pairs
        self.splits: set[str | None] = set()
        self.problems: list[Problem] = []
        self.warnings: Notes = {}
        self.skipped: Notes = {}
        self.run_order = RunOrder()
        self._types: dict[str, str] = {}  # of attributes, as words
        self._rows: list[dict] = []
        self._packed: list[pa.Table] = []
        uris = {name: storage.join(out, f"{name}.parquet") for name in MASK_TABLES}
        self.masks = {
            name: _MaskFile(uris[name], schema.with_metadata({**(schema.metadata or {}), **self._record}), files)
            for name, schema in MASK_TABLES.items()
        }

    def add(self, video: DatasetVideo) -> None:
        """Check a video and take its rows. After the first problem only further problems are collected."""
        self.problems += [Problem(f"video {video.video_id}", None, text) for text in once(self._find_problems(video))]
        self.ids.add(video.video_id)
        for pair in video.pairs:
            for name in sorted(RESERVED & pair.keys() - set(MANIFEST.names)):
                pair[f"{name}_"] = pair.pop(name)
                video.warnings.append((RENAMED, f"{name} of {pair_name(pair)}"))
            self._note_types(video, pair)
        for notes, found in ((self.warnings, video.warnings), (self.skipped, video.skipped)):
            for text, place in found:
                count, first = notes.get(text, (0, place))
                notes[text] = count + 1, first
        self.run_order.merge(video.run_order)
        if self.problems:
            return
        self.pairs += len(video.pairs)
        self.videos += bool(video.pairs)
        self.objects += len(pc.unique(video.annotations["object_id"]))
        for pair in video.pairs:
            self.splits.add(pair.get("split"))
            known = pair.get("object_ids")
            self._rows.append(pair if known is None else {**pair, "num_targets": len(known)})
        if len(self._rows) >= ROWS_AT_ONCE:
            self._pack()
        for name, file in self.masks.items():
            file.add(getattr(video, name))

    def commit(self) -> dict[str, str | None]:
        """Make all tables visible; return their URIs by name, None for a table without rows."""
        manifest = self._manifest() if self.pairs else None  # first, because it can fail
        written = {name: file.commit() for name, file in self.masks.items()} | {"manifest": None}
        if manifest is not None:
            written["manifest"] = storage.join(self.out, "manifest.parquet")
            parquet.write_table(written["manifest"], manifest)
        return written

    def _find_problems(self, video: DatasetVideo) -> Iterator[str]:
        yield from video.problems
        if video.video_id in self.ids:
            yield "duplicate id (a '/' in a name becomes '__'); rename one of the two videos"
        counts: dict[str, int] = defaultdict(int)
        for pair in video.pairs:
            counts[pair["expression_id"]] += 1
            for name, value in pair.items():
                texts = [name, *(value if isinstance(value, list) else [value])]
                if wrong := next((text for text in texts if isinstance(text, str) and not storage.is_text(text)), None):
                    where = f"expression {pair['expression_id']}: {name!a}"
                    yield f"{where} has {wrong!a}, which UTF-8 cannot hold; correct it"
        for name, count in counts.items():
            if count > 1:
                yield f"expression {name}: duplicate id ({count} times); make the ids unique within the video"

    def _note_types(self, video: DatasetVideo, pair: dict) -> None:
        """Warn, once for each attribute, if its values are not all texts, all numbers or all booleans."""
        for name in pair.keys() - set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN):
            value = pair[name]
            kind = "number" if type(value) in (int, float) else type(value).__name__
            if value is not None and self._types.setdefault(name, kind) not in (kind, "several"):
                self._types[name] = "several"
                video.warnings.append((SEVERAL_TYPES, f"{name} of {pair_name(pair)}"))

    def _pack(self) -> None:
        if self._rows:
            self._packed.append(manifest_table(self._rows, self.out))
            self._rows = []

    def _manifest(self) -> pa.Table:
        """All pairs. A column whose type differs from part to part becomes text, unless all its types are numbers."""
        self._pack()
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        for field in (field for table in self._packed for field in table.schema):
            types[field.name].add(field.type)
        mixed = {name for name, kinds in types.items() if len(kinds) > 1}
        numbers = {
            name
            for name in mixed
            if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in types[name])
        }
        try:
            table = _concat(self._packed, mixed - numbers)
        except pa.ArrowInvalid:  # fractions, and whole numbers too large for a float
            table = _concat(self._packed, mixed)
        names = dict.fromkeys([*(name for name in MANIFEST.names if name in types), *table.column_names])
        return table.select(list(names)).replace_schema_metadata({**(MANIFEST.metadata or {}), **self._record})


def manifest_table(pairs: list[dict], out: str) -> pa.Table:
    """MANIFEST rows as a table, attributes last; columns without a value are left out.

    A `video_uri` below the folder `out` becomes relative, so that the folder can be moved; others stay absolute.
    """
    names = dict.fromkeys([*MANIFEST.names, *(name for pair in pairs for name in pair)])
    columns, fields = [], []
    for name in names:
        values = [pair.get(name) for pair in pairs]
        if name == "video_uri":
            values = [str(uri).removeprefix(f"{out}/") for uri in values]
        if all(value is None for value in values):
            continue
        if name in ATTRIBUTES_WITH_A_COLUMN:
            columns.append(_text(values))
        elif name in MANIFEST.names:
            columns.append(pa.array(values, MANIFEST.field(name).type))
        elif len({isinstance(value, bool) for value in values if value is not None}) > 1:
            columns.append(_text(values))  # Arrow would make true the number 1
        else:
            try:
                columns.append(pa.array(values))
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):  # values of several types
                columns.append(_text(values))
        declared = name in MANIFEST.names
        fields.append(MANIFEST.field(name) if declared else pa.field(name, columns[-1].type))
    return pa.table(columns, schema=pa.schema(fields, MANIFEST.metadata))


def _text(values: list) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _concat(tables: list[pa.Table], as_text: set[str]) -> pa.Table:
    """The rows of all tables, with the columns `as_text` turned into text."""
    converted = []
    for table in tables:
        for name in as_text.intersection(table.column_names):
            column = _text(table[name].to_pylist())
            table = table.set_column(table.column_names.index(name), name, column)
        converted.append(table)
    return pa.concat_tables(converted, promote_options="permissive").combine_chunks()


class _MaskFile:
    """A Parquet file of masks, written in large row groups and invisible until `commit`."""

    def __init__(self, uri: str, schema: pa.Schema, files: contextlib.ExitStack):
        self.uri, self.rows = uri, 0
        self._path = files.enter_context(storage.spool(uri))
        self._writer = files.enter_context(pq.ParquetWriter(self._path, schema, compression="zstd"))
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        if table.num_rows:
            self._waiting.append(table)
        self.rows += table.num_rows
        if sum(table.num_rows for table in self._waiting) >= ROWS_AT_ONCE:
            self._write()

    def commit(self) -> str | None:
        """Make the file visible, replacing an earlier one. Without rows, write nothing and return None."""
        self._write()
        self._writer.close()
        if not self.rows:
            return None
        checksum.seal(self._path)
        storage.commit(self._path, self.uri, replace=True)
        return self.uri

    def _write(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting = []
