"""The annotations: which objects are annotated, and their rows, video by video."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import storage
from pipeline.masks.png_trees import Tree
from schemas.check import SchemaError, column_problems, conform, required
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS, VOID

BY_EXPRESSION = pa.schema(
    [pa.field("expression_id", pa.string(), nullable=False) if f.name == "object_id" else f for f in ANNOTATIONS],
    metadata=required("video_id", "expression_id", "frame_index", "height", "width", "counts"),
)
BESIDE = ("void.parquet", "foreground.parquet")


@dataclass(frozen=True, slots=True)
class Annotations:
    """Annotations of one form. `key` is the column, object_id or expression_id, that says whose a mask is.

    Tables are Parquet files, read when asked for; those of a tree of PNGs are held in memory, as RLE.
    """

    key: str
    annotations: tuple[str | pa.Table, ...]
    void: str | pa.Table | None = None  # pixels that are not scored
    foreground: str | None = None  # pixels of any object, for R of ReVOS

    @classmethod
    def open(cls, uri: str) -> "Annotations":
        """From a Parquet file, a folder that `rvos import` wrote, a folder of Parquet files, or a tree of PNGs.

        `void.parquet` and `foreground.parquet` beside the tables belong to them. Nothing but footers is read of
        tables. Raises InputError if there is no such table, or one lacks columns.
        """
        uri = storage.absolute(uri)
        tree = Tree.find(uri) if storage.is_folder(uri) else None
        if tree is not None:
            annotations, void = tree.annotations()
            return cls("object_id" if tree.are_objects else "expression_id", (annotations,), void)
        uris, folder = _tables(uri)
        key = "object_id"
        for number, table_uri in enumerate(uris):
            with storage.open_parquet(table_uri) as file:
                found = file.schema_arrow
            if number == 0 and "object_id" not in found.names and "expression_id" in found.names:
                key = "expression_id"
            problems = column_problems(found, _schema(key), table_uri)
            if problems:
                raise SchemaError(problems)
        beside = [storage.join(folder, name) for name in BESIDE]
        return cls(key, tuple(uris), *(there if storage.exists(there) else None for there in beside))

    def keys_by_video(self) -> dict[str, frozenset[str]]:
        """The keys annotated in each video. Of tables, only ids are read, a row group at a time."""
        schema = pa.schema(
            [_schema(self.key).field(name) for name in ("video_id", self.key)], metadata=required("video_id", self.key)
        )
        tracks: dict[str, set[str]] = {}
        for source in self.annotations:
            for ids in _id_tables(source, schema):
                for row in ids.group_by(schema.names).aggregate([]).to_pylist():
                    tracks.setdefault(row["video_id"], set()).add(row[self.key])
        return {video: frozenset(keys) for video, keys in tracks.items()}

    def rows(self, videos: Collection[str]) -> pa.Table:
        """All annotation rows of these videos."""
        schema = _schema(self.key)
        return pa.concat_tables((_read(s, schema, videos) for s in self.annotations), promote_options="default")

    def void_rows(self, videos: Collection[str]) -> pa.Table | None:
        """The void pixels of these videos; None if there is no such table."""
        return None if self.void is None else _read(self.void, VOID, videos)

    def foreground_rows(self, videos: Collection[str]) -> pa.Table | None:
        """The pixels of any object of these videos; None if there is no such table."""
        return None if self.foreground is None else _read(self.foreground, VOID, videos)


def _schema(key: str) -> pa.Schema:
    return ANNOTATIONS if key == "object_id" else BY_EXPRESSION


def _tables(uri: str) -> tuple[list[str], str]:
    """The Parquet files that `uri` stands for, and the folder in which they lie."""
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"no annotations at {uri}; 'rvos import' writes them, or give a Parquet file or folder")
        return [uri], storage.parent(uri)
    names = [name for name in storage.names(uri) if name.endswith(".parquet") and name not in BESIDE]
    if "annotations.parquet" in names:
        names = ["annotations.parquet"]
    if not names:
        raise InputError(
            f"{uri} holds no Parquet file with annotations, nor PNGs; 'rvos import' writes annotations.parquet"
        )
    return [storage.join(uri, name) for name in names], uri


def _id_tables(source: str | pa.Table, schema: pa.Schema):
    if isinstance(source, pa.Table):
        yield source.select(schema.names)
        return
    with storage.open_parquet(source) as file:
        for group in range(file.num_row_groups):
            yield conform(file.read_row_group(group, schema.names), schema, source)


def _read(source: str | pa.Table, schema: pa.Schema, videos: Collection[str]) -> pa.Table:
    """The rows of some videos, declared columns only. Row groups that cannot hold them are not read."""
    if isinstance(source, pa.Table):
        table = source
    else:
        with storage.open_parquet(source) as file:
            columns = [name for name in schema.names if name in file.schema_arrow.names]
            groups = [i for i in range(file.num_row_groups) if _may_hold(file.metadata.row_group(i), videos)]
            table = conform(file.read_row_groups(groups, columns), schema, source)
    wanted = pc.is_in(table.column("video_id"), pa.array(sorted(videos), pa.string()))
    return table.filter(wanted)


def _may_hold(group: pq.RowGroupMetaData, videos: Collection[str]) -> bool:
    """Whether a row group's statistics leave room for one of the videos; tables sorted by video read little."""
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == "video_id":
            statistics = column.statistics
            if statistics is None or not statistics.has_min_max:
                return True
            return any(statistics.min <= video <= statistics.max for video in videos)
    return True
