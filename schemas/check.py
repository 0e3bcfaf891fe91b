"""Check tables against their declared schemas. `conform` is called on every read; code behind it trusts the data."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from schemas.errors import InputError
from schemas.plain import plain_table, plain_type
from schemas.printable import counted
from schemas.shown import bounded, without_secrets

VERSION_KEY = b"refervos.version"
SHOWN = 20  # lines of an error


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of an input: the file, the row, the problem and the way out.

    row: a number from 0, which texts count from 1; or the place in words, such as "line 3"; None: the whole file.
    """

    source: str
    row: int | str | None
    text: str

    @property
    def where(self) -> str:
        """The file and the place in it."""
        if self.row is None:
            return self.source
        return f"{self.source} {self.row if isinstance(self.row, str) else row_place(self.row)}"

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def row_place(row: int) -> str:
    """Return the place of a row of a table, given its number from 0."""
    return f"row {row + 1} (counted from 1)"


class SchemaError(InputError):
    """A table does not match its schema; `problems` lists every problem."""

    def __init__(self, problems: list[Problem]):
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        alike: dict[tuple[str, str], list[Problem]] = {}
        for problem in self.problems:
            alike.setdefault((problem.source, problem.text), []).append(problem)
        shown = [_in_one_line(problems) for problems in alike.values()]
        if len(shown) > SHOWN:
            left = sum(map(len, [*alike.values()][SHOWN:]))
            shown[SHOWN:] = [f"... and {left} more"]
        return bounded(without_secrets("\n".join(shown)))


def _in_one_line(problems: list[Problem]) -> str:
    """Return one line for problems of one source that differ in their rows only."""
    first, more = problems[0], len(problems) - 1
    if not more or first.row is None:
        return str(first)
    return f"{first.where} and {more} other row{'s' if more > 1 else ''}: {first.text}"


def required(*names: str) -> dict[bytes, bytes]:
    """Return the metadata of a schema: its version, and the required columns (the others may be left out)."""
    return {VERSION_KEY: b"1", b"refervos.required": ",".join(names).encode()}


def column_problems(found: pa.Schema, schema: pa.Schema, source: str) -> list[Problem]:
    """Find missing, duplicate and mistyped columns. The schema is enough; no row is read."""
    problems = []
    for name in (schema.metadata or {})[b"refervos.required"].decode().split(","):
        if name not in found.names:
            have = ", ".join(found.names) or "none"
            problems.append(Problem(source, None, f"column '{name}' is missing (columns: {have})"))
    for field in schema:
        count = found.names.count(field.name)
        if count > 1:
            problems.append(Problem(source, None, f"column '{field.name}' occurs {count} times"))
        elif count == 1 and not _readable_as(found.field(field.name).type, field.type):
            have = found.field(field.name).type
            text = f"column '{field.name}' has type {have}, expected {field.type}; write it with that type"
            problems.append(Problem(source, None, text))
    return problems


def conform(table: pa.Table, schema: pa.Schema, source: str) -> pa.Table:
    """Return `table` with its declared columns cast to the types of `schema`, followed by its other columns.

    The others get plain types. Whole numbers are accepted as text (ids), bytes in UTF-8 too, NaN as null.

    `source` is the name of the table in errors. Raises SchemaError, which lists every problem: missing, mistyped or
    duplicate columns, nulls in columns that must not have any, values that do not fit the type.
    """
    table = plain_table(table)
    problems = column_problems(table.schema, schema, source)
    if problems:
        raise SchemaError(problems)
    declared = [field for field in schema if field.name in table.column_names]
    for field in declared:
        if not field.nullable and (count := table[field.name].null_count):
            first = pc.index(table[field.name].is_null(), pa.scalar(True)).as_py()
            text = f"column '{field.name}' is null in {counted(count, 'row')}, this is the first; set a value"
            problems.append(Problem(source, first, text))
    if problems:
        raise SchemaError(problems)
    columns = {}
    for field in declared:
        try:
            columns[field.name] = _converted(table[field.name], field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError([Problem(source, None, f"column '{field.name}': {error}")]) from None
    for name in table.column_names:
        columns.setdefault(name, table[name])
    return pa.table(columns)


def add_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table that conforms with exactly the columns of `schema`; missing ones are null.

    Files of older versions lack the columns that were added since.
    """
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


def _readable_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Return True if a column of the plain type of `found` may hold values of `wanted`; `conform` looks at each."""
    found = plain_type(found)
    is_number = pat.is_integer(found) or pat.is_floating(found) or pat.is_decimal(found)
    if pat.is_null(found) or found == wanted:
        return True
    if pat.is_string(wanted):
        return is_number or pat.is_binary(found)
    if pat.is_binary(wanted):
        return pat.is_string(found)
    if pat.is_integer(wanted) or pat.is_floating(wanted):
        return is_number
    if pat.is_list(wanted) or pat.is_fixed_size_list(wanted):
        is_list = pat.is_list(found) or pat.is_fixed_size_list(found)
        return is_list and _readable_as(found.value_type, wanted.value_type)
    return False


def _converted(column: pa.ChunkedArray, wanted: pa.DataType) -> pa.ChunkedArray:
    """Cast a column of a plain type. Raises ArrowInvalid for a value that would be changed, as 1.5 for an id."""
    if pat.is_floating(column.type) and not pat.is_floating(wanted):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    inner, inner_wanted = column.type, wanted
    while (pat.is_list(inner) or pat.is_fixed_size_list(inner)) and pat.is_nested(inner_wanted):
        inner, inner_wanted = inner.value_type, inner_wanted.value_type
    if (pat.is_floating(inner) or pat.is_decimal(inner)) and pat.is_string(inner_wanted):
        _require_whole(column)
        whole = pa.int64() if pat.is_floating(inner) else pa.decimal128(38, 0)
        column = column.cast(whole if inner == column.type else pa.list_(whole))
    return column.cast(wanted)


def _require_whole(column: pa.ChunkedArray) -> None:
    """Raise ArrowInvalid for an id that is no whole number, or that may have been rounded.

    A float cannot hold each whole number above a limit.
    """
    while pat.is_list(column.type) or pat.is_fixed_size_list(column.type):
        column = pc.list_flatten(column)
    broken = column.filter(pc.not_equal(column, pc.round(column)))
    if len(broken):
        raise pa.ArrowInvalid(f"{broken[0]} is no whole number; write such ids as texts")
    if pat.is_decimal(column.type):
        return
    most = 2**24 if pat.is_float32(column.type) else 2**53
    largest = pc.max(pc.abs(column)).as_py()
    if largest is not None and largest >= most:
        text = f"{largest:.0f} is a float, which rounds such numbers; write ids as whole numbers or texts"
        raise pa.ArrowInvalid(text)
