"""The Parquet files of one table: a file, or a folder as Spark, DuckDB, Hive and Hugging Face write it."""

import urllib.parse
from collections import Counter

import pyarrow as pa

from pipeline.io import storage
from schemas.errors import InputError

SUFFIXES = (".parquet", ".parq", ".pq")
_NULL = "__HIVE_DEFAULT_PARTITION__"


def table_files(uri: str) -> list[str]:
    """Return the Parquet files below the folder `uri`, in order of their paths; `[uri]` if it is no folder.

    Names that start with `_` or `.` are no data (`_SUCCESS`, checksums). Raises InputError if the folder has none.
    """
    if not storage.is_folder(uri):
        return [uri]
    files = []
    for path, names in storage.walk(uri):
        if not any(part.startswith("_") for part in path.split("/")):
            parts = [part for part in path.split("/") if part]
            found = [name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("_")]
            files += [storage.join(uri, *parts, name) for name in found]
    if not files:
        raise InputError(f"folder {uri} has no Parquet files; give a Parquet file, or a folder of such files")
    return sorted(files)


def read_files(uri: str) -> pa.Table:
    """Read all files of a table as one. Folders `name=value` become text columns, as Spark writes partitions.

    A column that only some files have is null in the others. Texts need not be UTF-8. Raises InputError if the files do
    not go together.
    """
    tables = [_with_partitions(_read_file(file), file.removeprefix(uri)) for file in table_files(uri)]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{uri}: its files have different types: {error}; write them with one schema") from None


def _read_file(uri: str) -> pa.Table:
    table = storage.read_table(uri, any_text=True)
    (name, count), *_ = Counter(table.column_names).most_common(1) or [("", 0)]
    if count > 1:
        raise InputError(f"{uri}: it has {count} columns {name!r}; rename or remove all but one")
    return table


def _with_partitions(table: pa.Table, path: str) -> pa.Table:
    for part in path.split("/")[:-1]:
        name, sign, value = part.partition("=")
        if sign and name not in table.column_names:
            text = None if value == _NULL else urllib.parse.unquote(value)
            table = table.append_column(name, pa.array([text] * len(table), pa.string()))
    return table
