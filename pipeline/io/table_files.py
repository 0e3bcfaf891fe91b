"""The Parquet files of one table: a file, or a folder as Spark, DuckDB, Hive and Hugging Face write it."""

import re
import urllib.parse
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from pipeline.io import parquet, storage
from schemas.errors import InputError

SUFFIXES = (".parquet", ".parq", ".pq")
_OTHER_TABLE = re.compile(
    r"\.(csv|tsv|jsonl|ndjson|arrow|feather|orc|avro|xlsx?)(\.[a-z0-9]+)?$"
    r"|\.(parquet|parq|pq)\.(gz|gzip|zip|zst|bz2|xz|part|tmp|partial|crdownload)$"
)
_VERSIONED = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_NULL = "__HIVE_DEFAULT_PARTITION__"


class EmptyFolderError(InputError):
    """A folder has no Parquet files."""


def table_files(uri: str) -> list[str]:
    """Return the Parquet files below the folder `uri`, in order of their paths; `[uri]` if it is no folder.

    Names that start with `_` or `.` are no data (`_SUCCESS`, checksums), nor are texts such as `README.md`. Raises
    InputError if the folder has none, or has tables of another form, which would be left out, and as
    `require_finished`.
    """
    if not storage.is_folder(uri):
        return [uri]
    require_finished(uri)
    files, others = [], []
    for path, names in storage.walk(uri):
        if not any(part.startswith("_") for part in path.split("/")):
            parts = [part for part in path.split("/") if part]
            visible = [name for name in names if not name.startswith("_")]
            files += [storage.join(uri, *parts, name) for name in visible if name.lower().endswith(SUFFIXES)]
            others += [storage.join(uri, *parts, name) for name in visible if _OTHER_TABLE.search(name.lower())]
    if not files:
        raise EmptyFolderError(f"folder {uri} has no Parquet files; give a Parquet file, or a folder of such files")
    if others:
        text = "convert it to Parquet, or take it out of the folder"
        raise InputError(f"{others[0]} is a table, but not a Parquet file; {text}, since it would be left out")
    return sorted(files)


def require_finished(folder: str) -> None:
    """Raise InputError for a folder whose Parquet files are not its rows: of tables with versions, or half written."""
    names = {*storage.names(folder, hidden=True)}
    form = next((form for name, form in _VERSIONED.items() if name in names), None)
    if "metadata" in names and any(n.endswith(".metadata.json") for n in storage.names(f"{folder}/metadata")):
        form = "Iceberg"
    if form:
        text = "whose files also hold rows that were deleted or replaced"
        raise InputError(f"{folder} is a table of {form}, {text}; write it as plain Parquet files to a new folder")
    if "_temporary" in names and "_SUCCESS" not in names:
        text = "Spark or Hadoop is still writing it, or has failed"
        raise InputError(f"{folder} has a folder _temporary and no _SUCCESS: {text}; write it again")


def read_files(uri: str) -> pa.Table:
    """Read all files of a table as one. Folders `name=value` become text columns, as Spark writes partitions.

    A column that only some files have is null in the others. Texts need not be UTF-8. Raises InputError if the files do
    not go together.
    """
    tables = [_with_partitions(_read_file(file), file.removeprefix(uri), file) for file in table_files(uri)]
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{uri}: its files have different types: {error}; write them with one schema") from None


def _read_file(uri: str) -> pa.Table:
    table = parquet.read_table(uri, any_text=True)
    (name, count), *_ = Counter(table.column_names).most_common(1) or [("", 0)]
    if count > 1:
        raise InputError(f"{uri}: it has {count} columns {name!r}; rename or remove all but one")
    return table


def _with_partitions(table: pa.Table, path: str, file: str) -> pa.Table:
    for part in path.split("/")[:-1]:
        name, sign, value = part.partition("=")
        text = None if value == _NULL else urllib.parse.unquote(value)
        if sign and name in table.column_names:
            _require_value(table[name], text, f"{file}: column {name!r}")
        elif sign:
            table = table.append_column(name, pa.array([text] * len(table), pa.string()))
    return table


def _require_value(column: pa.ChunkedArray, text: str | None, what: str) -> None:
    """Raise InputError if a text or whole number is another one than the name of its folder says."""
    kind = column.type
    if not any(is_kind(kind) for is_kind in (pat.is_string, pat.is_large_string, pat.is_integer, pat.is_null)):
        return
    if other := [value for value in pc.unique(column).to_pylist() if (None if value is None else str(value)) != text]:
        raise InputError(f"{what} has the value {other[0]!r}, but its folder says {text!r}; rename the folder")
