"""Annotated masks: Parquet tables or a tree of PNGs, read by video."""

import bisect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import parquet, storage
from pipeline.io.plain_parquet import PlainParquetFile
from pipeline.io.table_files import EmptyFolderError, read_files, require_finished
from pipeline.masks.png_trees import DEFAULT_READING, PngReading, PngTree
from pipeline.masks.tree_masks import NO_OBJECT, TreeMasks
from pipeline.runs.run import Run
from pipeline.runs.run_json import is_run
from schemas.check import SchemaError, column_problems, conform, required
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS
from schemas.plain import readable_table
from schemas.uri import HTTP, scheme_of

BY_EXPRESSION = pa.schema(
    [pa.field("expression_id", pa.string(), nullable=False) if f.name == "object_id" else f for f in ANNOTATIONS],
    metadata=required("video_id", "expression_id", "frame_index", "height", "width", "counts"),
)
SCHEMAS = {"object_id": ANNOTATIONS, "expression_id": BY_EXPRESSION}
COMPANIONS = ("void.parquet", "foreground.parquet")  # in the folder of the annotations


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotated masks of all videos. Parquet files are read on demand; a tree of PNGs is held in memory as RLE.

    meaning: what the values of PNGs are, in words; None for Parquet.
    """

    key: str  # the column that identifies a mask's owner: object_id or expression_id
    tables: tuple[str | pa.Table, ...]
    void: str | pa.Table | None = None  # pixels that are not scored
    foreground: str | None = None  # pixels of any object, for R of ReVOS
    meaning: str | None = None

    @classmethod
    def open(
        cls, uri: str, reading: PngReading = DEFAULT_READING, objects: Mapping[str, frozenset[str]] | None = None
    ) -> "Annotations":
        """Open a Parquet file, a folder of Parquet files such as `rvos import` writes, a run, or a tree of PNGs.

        Includes `void.parquet` and `foreground.parquet` of the same folder. Reads only the footers of tables; reads all
        PNGs. Raises InputError if `uri` has no such table, or one lacks columns; ImplausibleError if label maps do not
        show the `objects` of each video, where these are known.
        """
        uri = storage.absolute(uri)
        if scheme_of(uri) in HTTP and "?" in uri:
            reason = f"opens one file, and {' and '.join(COMPANIONS)} beside it, if any, cannot be read"
            raise InputError(f"{uri}: a link with a query {reason}; copy the folder of the annotations to this machine")
        if is_run(uri):
            Run.open(uri).require_finished()
            uri = storage.join(uri, "masks")
        tree = PngTree.find(uri) if storage.is_folder(uri) else None
        if tree is not None:
            masks = TreeMasks.read(tree, reading)
            masks = masks.with_objects(objects) if tree.are_objects and objects else masks
            table, void = masks.annotations()
            key = "object_id" if tree.are_objects else "expression_id"
            return cls(key, (table,), void, meaning=masks.meaning.text)
        uris, folder = [uri], storage.parent(uri)
        if storage.is_folder(uri):
            names = [name for name in storage.names(uri) if name.endswith(".parquet") and name not in COMPANIONS]
            names = ["annotations.parquet"] if "annotations.parquet" in names else names
            uris, folder = [storage.join(uri, name) for name in names], uri
            if not uris:
                return cls._in_folders(uri)
            require_finished(uri)
        elif not storage.exists(uri):
            raise InputError(f"no annotations at {uri}; 'rvos import' writes them, or give a Parquet file or folder")
        key = ""
        for table_uri in uris:
            with parquet.open_file(table_uri) as file:
                parquet.verify(table_uri)
                columns = file.schema_arrow
            key = key or _key_of(columns.names)
            problems = column_problems(columns, SCHEMAS[key], table_uri)
            if problems:
                raise SchemaError(problems)
        companions = [storage.join(folder, name) for name in COMPANIONS]
        return cls(key, tuple(uris), *(uri if storage.exists(uri) else None for uri in companions))

    @classmethod
    def _in_folders(cls, uri: str) -> "Annotations":
        """Read Parquet files that lie in folders `video_id=a`, as Spark and DuckDB write partitions, into memory."""
        try:
            table = readable_table(read_files(uri))
        except EmptyFolderError:
            text = "holds neither Parquet files of annotations nor PNGs; 'rvos import' writes annotations.parquet"
            raise InputError(f"{uri} {text}") from None
        key = _key_of(table.column_names)
        table = _masks_only(conform(table, SCHEMAS[key], uri))
        return cls(key, (table.select([name for name in SCHEMAS[key].names if name in table.column_names]),))

    def keys_by_video(self) -> dict[str, frozenset[str]]:
        """Return the annotated object or expression ids of each video. Of Parquet files, only the ids are read."""
        names = ["video_id", self.key]
        schema = pa.schema([SCHEMAS[self.key].field(name) for name in names], required(*names))
        keys: dict[str, set[str]] = {}
        for table in self.tables:
            for part in [table] if isinstance(table, pa.Table) else _read_row_groups(table, schema):
                for row in part.group_by(names).aggregate([]).to_pylist():
                    keys.setdefault(row["video_id"], set()).update({row[self.key]} - {NO_OBJECT})
        return {video: frozenset(of_video) for video, of_video in keys.items()}

    def rows(self, videos: Collection[str]) -> pa.Table:
        """Return all annotation rows of these videos."""
        tables = (rows_of_videos(table, SCHEMAS[self.key], videos) for table in self.tables)
        return pa.concat_tables(tables, promote_options="default")


def _key_of(columns: Sequence[str]) -> str:
    return "expression_id" if "object_id" not in columns and "expression_id" in columns else "object_id"


def _read_row_groups(uri: str, schema: pa.Schema) -> Iterator[pa.Table]:
    with parquet.open_file(uri) as file:
        columns = [*schema.names, *_marks(file)]
        for group in range(file.num_row_groups):
            yield conform(_masks_only(file.read_row_group(group, columns)), schema, uri)


def _marks(file: PlainParquetFile) -> list[str]:
    """Return the columns that tell which rows of predictions are masks, for `_masks_only`."""
    return [name for name in ("status", "chosen") if name in file.schema_arrow.names]


def _masks_only(table: pa.Table) -> pa.Table:
    """Return the rows without those of failed pairs and those of queries that were not chosen."""
    for name, wanted in (("status", "ok"), ("chosen", True)):
        if name in table.column_names:
            is_wanted = pc.fill_null(pc.equal(table[name], wanted), True)
            table = table.filter(is_wanted).drop_columns([name])
    return table


def rows_of_videos(source: str | pa.Table, schema: pa.Schema, videos: Collection[str]) -> pa.Table:
    """Return the rows of some videos, declared columns only; skip row groups that cannot contain them."""
    table = source
    if not isinstance(table, pa.Table):
        with parquet.open_file(table) as file:
            columns = [name for name in schema.names if name in file.schema_arrow.names]
            ordered = sorted(videos)
            groups = [i for i in range(file.num_row_groups) if _may_contain(file.metadata.row_group(i), ordered)]
            table = conform(_masks_only(file.read_row_groups(groups, columns + _marks(file))), schema, table)
    return table.filter(pc.is_in(table.column("video_id"), pa.array(sorted(videos), pa.string())))


def _may_contain(group: pq.RowGroupMetaData, videos: Sequence[str]) -> bool:
    """Compare the sorted videos with the row group's statistics."""
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == "video_id":
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                return True
            first = bisect.bisect_left(videos, statistics.min)
            return first < len(videos) and videos[first] <= statistics.max
    return True
