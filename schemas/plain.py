"""Reduce the types of a table to plain ones, at the door: the same values have many Arrow types.

pandas writes large strings and categories, polars and DuckDB large or view types, DataFusion views, Spark and Hive
bytes and maps. Kernels exist for some of these only, and code behind the door must not care.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

UNREADABLE = "\ufffd"  # stands for bytes that are not UTF-8
_LISTS = (pat.is_list, pat.is_large_list, pat.is_list_view, pat.is_large_list_view)
_TEXTS = (pat.is_string, pat.is_large_string, pat.is_string_view)
_BYTES = (pat.is_binary, pat.is_large_binary, pat.is_binary_view, pat.is_fixed_size_binary)


def plain_table(table: pa.Table) -> pa.Table:
    """Return `table` with the types of `plain_schema`: itself if it has them already."""
    schema = plain_schema(table.schema)
    if schema.equals(table.schema):
        return table
    return pa.Table.from_arrays(
        [_column(column, schema.field(n).type) for n, column in enumerate(table)], schema=schema
    )


def unreadable_columns(table: pa.Table) -> Iterator[str]:
    """Yield the names of columns with texts, also in lists, that are not UTF-8: Parquet may hold any bytes."""
    for field, column in zip(table.schema, table.columns, strict=True):
        if "string" in str(field.type):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid:
                yield field.name


def readable_table(table: pa.Table) -> pa.Table:
    """Return a table whose texts, also those in lists, have UNREADABLE for what is not UTF-8."""
    for name in unreadable_columns(table):
        number = table.column_names.index(name)
        column = table.column(number)
        values = [_readable(value) for value in column.cast(_with_bytes(column.type)).to_pylist()]
        table = table.set_column(number, table.field(number), pa.chunked_array([pa.array(values, column.type)]))
    return table


def _with_bytes(found: Any) -> pa.DataType:
    """Return a plain type with bytes in place of texts."""
    if pat.is_string(found):
        return pa.binary()
    if pat.is_list(found):
        return pa.list_(_with_bytes(found.value_type))
    if pat.is_fixed_size_list(found):
        return pa.list_(_with_bytes(found.value_type), found.list_size)
    if pat.is_struct(found):
        return pa.struct([field.with_type(_with_bytes(field.type)) for field in found])
    return found


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_readable(inner) for inner in value]
    return {name: _readable(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return `schema` with plain types."""
    return pa.schema([field.with_type(plain_type(field.type)) for field in schema], metadata=schema.metadata)


def plain_type(found: Any) -> pa.DataType:
    """Return the plain type that holds the values of another: of one width, not encoded, no extension, no map."""
    if isinstance(found, pa.BaseExtensionType):
        return pa.string() if isinstance(found, pa.UuidType) else plain_type(found.storage_type)
    if pat.is_dictionary(found) or pat.is_run_end_encoded(found):
        return plain_type(found.value_type)
    if any(is_kind(found) for is_kind in _TEXTS):
        return pa.string()
    if any(is_kind(found) for is_kind in _BYTES):
        return pa.binary()
    if any(is_kind(found) for is_kind in _LISTS):
        return pa.list_(plain_type(found.value_type))
    if pat.is_fixed_size_list(found):
        return pa.list_(plain_type(found.value_type), found.list_size)
    if pat.is_map(found):
        return pa.list_(pa.struct({"key": plain_type(found.key_type), "value": plain_type(found.item_type)}))
    if pat.is_struct(found):
        return pa.struct([pa.field(field.name, plain_type(field.type)) for field in found])
    if pat.is_float16(found):
        return pa.float32()
    if pat.is_decimal(found) and found.bit_width < 128:
        return pa.decimal128(found.precision, found.scale)
    return found


def _column(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    if column.type == wanted:
        return column
    # The bytes of a UUID would become its text; pyarrow 26 makes broken lists of list views.
    if not any(kind in str(column.type) for kind in ("uuid", "list_view")):
        try:
            return column.cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # there is no kernel, most often for a nested type
            pass
    return pa.chunked_array([pa.array(map(_value, chunk.to_pylist()), wanted) for chunk in column.chunks], wanted)


def _value(value: Any) -> Any:
    """Return a Python value of Arrow as `pa.array` takes it for a plain type."""
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, dict):
        return {key: _value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [{"key": _value(x[0]), "value": _value(x[1])} if isinstance(x, tuple) else _value(x) for x in value]
    return value
