"""Read and write a table as one Parquet file, by local path or by URI. Files of the project carry a checksum."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io import checksum, local, storage
from pipeline.io.plain_parquet import WRITE_AGAIN, PlainParquetFile, is_damage
from pipeline.io.stand_in import HEAD_BYTES, in_place_of_table
from schemas.errors import InputError


@contextlib.contextmanager
def open_file(uri: str, *, in_one_request: bool = False, any_text: bool = False) -> Iterator[PlainParquetFile]:
    """Open a Parquet file and read its footer; its types are plain. Raises InputError if it is not Parquet.

    Reading raises InputError for texts that are not UTF-8, unless `any_text`. With `in_one_request`, neighbouring row
    groups that are read at once take one request, and are in memory at once. Raises OSError if it cannot be read.
    """
    with storage.open_input(uri, read_ahead=not in_one_request) as handle:
        try:
            options: dict[str, Any] = {"page_checksum_verification": True, "pre_buffer": in_one_request}
            file = PlainParquetFile(handle, name=uri, any_text=any_text, **options)
        except pa.ArrowNotImplementedError as error:
            advice = "write the column of this type as another one, or leave it out"
            raise InputError(f"{uri} has a type that cannot be read: {error}; {advice}") from None
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and not is_damage(error):
                raise
            handle.seek(0)
            found = in_place_of_table(handle.read(HEAD_BYTES))
            raise InputError(f"{uri} is not a Parquet file{f', but {found}' if found else f': {error}'}") from None
        with file:
            yield file


def verify(uri: str) -> None:
    """Raise InputError if the content of a local Parquet file does not match the checksum in it.

    Readers of Parquet compare checksums of pages, without their headers. Object stores have checksums of their own.
    """
    if storage.is_local(uri) and os.path.isfile(uri):
        try:
            with local.report_failing_disk(uri):
                checksum.is_sealed(uri)
        except InputError as error:
            raise InputError(f"{uri} is damaged: {error}; {WRITE_AGAIN}") from None


def read_table(uri: str, columns: list[str] | None = None, *, any_text: bool = False) -> pa.Table:
    """Read a Parquet file. Raises as `open_file`, and InputError for the whole of a damaged file; see `verify`."""

    def read() -> pa.Table:
        with open_file(uri, any_text=any_text) as file:
            if columns is None:
                verify(uri)
            return file.read(columns)

    return storage.read_again(read)


def write_table(uri: str, table: pa.Table, *, replace: bool = True, row_group_size: int = 100_000) -> str:
    """Write a table as one Parquet file in one step. Returns and replaces as `storage.commit`."""
    with storage.spool(uri) as path:
        pq.write_table(table, path, compression="zstd", row_group_size=row_group_size, write_page_checksum=True)
        checksum.seal(path)
        return storage.commit(path, uri, replace=replace)
