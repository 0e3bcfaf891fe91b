"""The annotations: which objects are annotated, and their rows, video by video."""

from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from schemas.check import SchemaError, column_problems, conform, required
from schemas.errors import InputError
from schemas.masks import ANNOTATIONS, VOID

BY_EXPRESSION = pa.schema(
    [pa.field("expression_id", pa.string(), nullable=False) if f.name == "object_id" else f for f in ANNOTATIONS],
    metadata=required("video_id", "expression_id", "frame_index", "height", "width", "counts"),
)


@dataclass(frozen=True, slots=True)
class Truth:
    """Annotation tables of one form. `key` is the column, object_id or expression_id, that says whose a mask is."""

    uris: list[str]
    void_uri: str | None
    key: str
    tracks: dict[str, frozenset[str]]  # video_id -> the keys annotated in it

    @classmethod
    def open(cls, uri: str) -> "Truth":
        """From a Parquet file, a folder that `rvos import` wrote, or a folder of Parquet files.

        A `void.parquet` beside the tables holds the pixels that are not scored. Only ids are read here. Raises
        InputError if there is no such table, or one lacks columns.
        """
        uri = storage.absolute(uri)
        uris, folder = _tables(uri)
        key = "object_id"
        tracks: dict[str, set[str]] = {}
        for number, table_uri in enumerate(uris):
            with storage.open_parquet(table_uri) as file:
                found = file.schema_arrow
                if number == 0 and "object_id" not in found.names and "expression_id" in found.names:
                    key = "expression_id"
                problems = column_problems(found, _schema(key), table_uri)
                if problems:
                    raise SchemaError(problems)
                ids = conform(file.read(["video_id", key]), _id_schema(key), table_uri)
            for pair in ids.group_by(["video_id", key]).aggregate([]).to_pylist():
                tracks.setdefault(pair["video_id"], set()).add(pair[key])
        void_uri = storage.join(folder, "void.parquet")
        return cls(
            uris,
            void_uri if storage.exists(void_uri) else None,
            key,
            {video: frozenset(keys) for video, keys in tracks.items()},
        )

    def rows(self, videos: Collection[str]) -> pa.Table:
        """All annotation rows of these videos."""
        return pa.concat_tables((_read(uri, _schema(self.key), videos) for uri in self.uris), promote_options="default")

    def void_rows(self, videos: Collection[str]) -> pa.Table | None:
        """The void pixels of these videos; None if there is no such table."""
        return _read(self.void_uri, VOID, videos) if self.void_uri else None


def _schema(key: str) -> pa.Schema:
    return ANNOTATIONS if key == "object_id" else BY_EXPRESSION


def _id_schema(key: str) -> pa.Schema:
    return pa.schema([_schema(key).field(name) for name in ("video_id", key)], metadata=required("video_id", key))


def _tables(uri: str) -> tuple[list[str], str]:
    """The Parquet files that `uri` stands for, and the folder in which they lie."""
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"no annotations at {uri}; 'rvos import' writes them, or give a Parquet file or folder")
        return [uri], storage.parent(uri)
    names = [name for name in storage.names(uri) if name.endswith(".parquet") and name != "void.parquet"]
    if "annotations.parquet" in names:
        names = ["annotations.parquet"]
    if not names:
        raise InputError(f"{uri} holds no Parquet file with annotations; 'rvos import' writes annotations.parquet")
    return [storage.join(uri, name) for name in names], uri


def _read(uri: str, schema: pa.Schema, videos: Collection[str]) -> pa.Table:
    """The rows of some videos, declared columns only. Row groups that cannot hold them are not read."""
    with storage.open_parquet(uri) as file:
        columns = [name for name in schema.names if name in file.schema_arrow.names]
        groups = [i for i in range(file.num_row_groups) if _may_hold(file.metadata.row_group(i), videos)]
        table = conform(file.read_row_groups(groups, columns), schema, uri)
    return table.filter(pc.is_in(table["video_id"], pa.array(sorted(videos), pa.string())))


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
