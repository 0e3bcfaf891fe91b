"""A Parquet file whose tables have plain types, whoever wrote it: the one door of all tables."""

import functools
import io
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io.parquet_pages import CheckedPages
from schemas.errors import InputError
from schemas.plain import plain_schema, plain_table, unreadable_columns

# A table of a bomb has both more bytes than MAX_BYTES and more than MAX_RATIO times those of its file.
MAX_BYTES = 2**28
MAX_RATIO = 200
MAX_COLUMNS = 10_000  # each takes 0.08 ms, in every table that is read
MAX_CHUNKS = 2**19  # of columns, in all row groups; each takes some ten microseconds
HUGE = 2**62  # bytes, more than any file has
WRITE_AGAIN = "write it again, of a run by its command with --repair"
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12}


def is_damage(error: OSError) -> bool:
    """Return True for an error of Arrow about the content of a file: it has no number of the operating system."""
    return type(error) is OSError and error.errno is None


class PlainParquetFile(pq.ParquetFile):
    """`pyarrow.parquet.ParquetFile`, with plain types. Reading raises InputError if the content is damaged.

    It also raises InputError for a table that is far larger than its file, before it takes the memory, and for texts
    that are not UTF-8, unless `any_text`.
    """

    def __init__(self, source: Any, *, name: str = "the Parquet file", any_text: bool = False, **options: Any):
        """name: of the file in messages."""
        self._file, self._name, self._any_text = CheckedPages(source, name), name, any_text
        super().__init__(self._file, **options)
        self._file.most = None

    @functools.cached_property
    def metadata(self) -> pq.FileMetaData:
        """The footer, checked: Arrow ends the process when it shows a chunk of columns whose sizes contradict."""
        found = super().metadata
        if found.num_columns > MAX_COLUMNS:
            text = f"{found.num_columns} columns, more than {MAX_COLUMNS}"
            raise InputError(f"{self._name} has {text}; write it again with those that are needed")
        if found.num_row_groups * (found.num_columns + 1) > MAX_CHUNKS:
            text = f"{found.num_row_groups} row groups of {found.num_columns} columns"
            raise InputError(f"{self._name} has {text}, too many to read; write it again, in larger row groups")
        options: dict[str, Any] = {"metadata": found, "buffer_size": 4096, "pre_buffer": False}
        with pq.ParquetFile(pa.PythonFile(_FooterOnly(), mode="r"), **options) as file:
            for group in range(found.num_row_groups):
                # Reading makes all chunks where errors are caught, and then asks for the first bytes.
                batches = file.iter_batches(batch_size=1, row_groups=[group], use_threads=False)
                try:
                    self._whole(lambda batches=batches: next(batches, None))
                except _AsksForBytesError:
                    continue
        _require_rows(found, self._name)
        self._whole(_require_paths, found, self._name)
        return found

    @property
    def schema_arrow(self) -> pa.Schema:
        return plain_schema(super().schema_arrow)

    def read(self, columns: list[str] | None = None, **options: Any) -> pa.Table:
        self._refuse_bomb(range(self.num_row_groups), columns)
        return self._plain(super().read, columns, **options)

    def read_row_group(self, i: int, columns: list[str] | None = None, **options: Any) -> pa.Table:
        self._refuse_bomb([i], columns)
        return self._plain(super().read_row_group, i, columns, **options)

    def read_row_groups(self, row_groups: Iterable[int], columns: list[str] | None = None, **options: Any) -> pa.Table:
        groups = list(row_groups)
        self._refuse_bomb(groups, columns)
        return self._plain(super().read_row_groups, groups, columns, **options)

    def iter_batches(
        self,
        batch_size: int = 2**16,
        row_groups: Iterable[int] | None = None,
        columns: list[str] | None = None,
        **options: Any,
    ) -> Iterator[pa.RecordBatch]:
        groups = list(range(self.num_row_groups) if row_groups is None else row_groups)
        for group in groups:  # they are unpacked one after the other
            self._refuse_bomb([group], columns)
        batches = super().iter_batches(batch_size, groups, columns, **options)
        while (batch := self._whole(next, batches, None)) is not None:
            self._require_text(pa.Table.from_batches([batch]))
            yield batch

    def _plain(self, read: Callable[..., pa.Table], *args: Any, **options: Any) -> pa.Table:
        table = self._whole(read, *args, **options)
        self._require_text(table)
        return plain_table(table)

    def _require_text(self, table: pa.Table) -> None:
        if not self._any_text and (column := next(unreadable_columns(table), None)):
            raise InputError(f"{self._name} has bytes that are not UTF-8 in column {column!r}; write it again")

    def _whole(self, read: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return read(*args, **options)
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
            raise InputError(f"{self._name} cannot be read as Parquet: {error}; {WRITE_AGAIN}") from None

    def _refuse_bomb(self, groups: Iterable[int], columns: list[str] | None) -> None:
        chunks = [
            (group, chunk)
            for group in groups
            for chunk in map(self.metadata.row_group(group).column, range(self.metadata.num_columns))
            if columns is None or chunk.path_in_schema.partition(".")[0] in columns
        ]
        for _, chunk in chunks:
            if chunk.num_values:
                start, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset or 0
                start = dictionary if 0 < dictionary < start else start  # as Arrow reads it
                self._file.expect(start, chunk.total_compressed_size, chunk.total_uncompressed_size)
        size = sum(chunk.num_values * _WIDTHS.get(chunk.physical_type, 8) for _, chunk in chunks)
        size += sum(self._text_bytes(group, chunk) for group, chunk in chunks if "BYTE" in chunk.physical_type)
        most = max(MAX_BYTES, MAX_RATIO * self._file.seek(0, 2))
        if size > most:
            raise InputError(f"{self._name} unpacks to {size} bytes, far more than it has; write it again")

    def _text_bytes(self, group: int, chunk: pq.ColumnChunkMetaData) -> int:
        """Return the bytes of all texts of a chunk. Only a chunk that may repeat long texts is looked into."""
        packed = chunk.total_uncompressed_size
        if chunk.num_values * packed <= MAX_BYTES or not any("DICT" in name for name in chunk.encodings):
            return packed
        options: dict[str, Any] = {"metadata": self.metadata, "read_dictionary": [chunk.path_in_schema]}
        with pq.ParquetFile(self._file, **options) as file:
            table = self._whole(file.read_row_group, group, [chunk.path_in_schema])
        total = 0
        for array in table.column(0).chunks:
            while not pa.types.is_dictionary(array.type) and pa.types.is_nested(array.type):
                array = array.flatten() if not pa.types.is_struct(array.type) else array.flatten()[0]
            if not pa.types.is_dictionary(array.type):
                return packed
            lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
            total += pc.sum(lengths.cast(pa.int64())).as_py() or 0
        return total


def _require_rows(footer: pq.FileMetaData, file: str) -> None:
    """Raise InputError for numbers of rows that contradict each other: Arrow takes memory for as many as are claimed.

    A column has at least one value a row, also for null and for an empty list.
    """
    total = 0
    for group in map(footer.row_group, range(footer.num_row_groups)):
        least = min((group.column(i).num_values for i in range(group.num_columns)), default=group.num_rows)
        total += group.num_rows
        if not 0 <= group.num_rows <= least:
            raise InputError(f"{file} claims {group.num_rows} rows for {least} values; write it again")
    if total != footer.num_rows:
        raise InputError(f"{file} claims {footer.num_rows} rows and has {total}; write it again")


def _require_paths(footer: pq.FileMetaData, file: str) -> None:
    """Raise InputError for a chunk under another name than that of its column, by which sizes are checked.

    Raises UnicodeDecodeError for a name that is not UTF-8.
    """
    names = [footer.schema.column(i).path for i in range(footer.num_columns)]
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for i, name in enumerate(names):
            if (found := group.column(i).path_in_schema) != name:
                raise InputError(f"{file} calls column {name!r} also {found!r}; write it again")


class _AsksForBytesError(Exception):
    """The footer is sound, and the content would be read now."""


class _FooterOnly(io.RawIOBase):
    """Stands for a file whose footer is known: it claims HUGE bytes, so that no offset is outside, and gives none."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return HUGE if whence == io.SEEK_END else offset

    def tell(self) -> int:
        return HUGE

    def read(self, size: int = -1) -> bytes:
        raise _AsksForBytesError
