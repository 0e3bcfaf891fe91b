"""`conform`: a table against its declared schema. Called at every door; inside, the data is trusted."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat

from schemas.errors import InputError

VERSION_KEY = b"refervos.version"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one input: which file, which row (0-based, None for the whole), what, and the way out."""

    source: str
    row: int | None
    text: str

    def __str__(self) -> str:
        where = self.source if self.row is None else f"{self.source} row {self.row}"
        return f"{where}: {self.text}"


class SchemaError(InputError):
    """A table does not have the form that its schema asks for; `problems` lists everything found."""

    def __init__(self, problems: list[Problem]):
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        shown = [str(problem) for problem in self.problems[:20]]
        if len(self.problems) > len(shown):
            shown.append(f"... and {len(self.problems) - len(shown)} more")
        return "\n".join(shown)


def required(*names: str) -> dict[bytes, bytes]:
    """Schema metadata: its version, and the columns that must be there (the others may be left out)."""
    return {VERSION_KEY: b"1", b"refervos.required": ",".join(names).encode()}


def required_columns(schema: pa.Schema) -> list[str]:
    """Names that `required` put into the schema's metadata."""
    return (schema.metadata or {})[b"refervos.required"].decode().split(",")


def column_problems(found: pa.Schema, schema: pa.Schema, source: str) -> list[Problem]:
    """Missing and mistyped columns. A Parquet footer is enough; no row is read."""
    problems = []
    for name in required_columns(schema):
        if name not in found.names:
            have = ", ".join(found.names) or "none"
            problems.append(Problem(source, None, f"column '{name}' is missing (there are: {have})"))
    for field in schema:
        count = found.names.count(field.name)
        if count > 1:
            problems.append(Problem(source, None, f"column '{field.name}' is there {count} times"))
        elif count == 1 and not _readable_as(found.field(field.name).type, field.type):
            have = found.field(field.name).type
            text = f"column '{field.name}' has type {have}, needed is {field.type}; write it with that type"
            problems.append(Problem(source, None, text))
    return problems


def null_problems(table: pa.Table, schema: pa.Schema, source: str) -> list[Problem]:
    """One problem for each column that may hold no null and does, with the first such row."""
    problems = []
    for field in schema:
        if field.nullable or field.name not in table.column_names or not table[field.name].null_count:
            continue
        nulls = table[field.name].is_null()
        row = pc.index(nulls, pa.scalar(True)).as_py()
        text = f"column '{field.name}' is null in {table[field.name].null_count} rows, first here; give it a value"
        problems.append(Problem(source, row, text))
    return problems


def conform(table: pa.Table, schema: pa.Schema, source: str) -> pa.Table:
    """`table` with its declared columns cast to the schema's types (others kept as they are, after them).

    `source` is the name that errors carry. Raises SchemaError that lists every problem: missing, mistyped or doubled
    columns, nulls where none may be, values that do not fit the type.
    """
    problems = column_problems(table.schema, schema, source)
    if not problems:
        problems = null_problems(table, schema, source)
    if problems:
        raise SchemaError(problems)
    declared = [field for field in schema if field.name in table.column_names]
    columns = {field.name: _cast(table[field.name], field, source) for field in declared}
    for name in table.column_names:
        columns.setdefault(name, table[name])
    return pa.table(columns)


def add_missing_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table that conforms, with all columns of the schema and no other: null where it has none.

    Older files lack the columns that were added since.
    """
    missing = [field for field in schema if field.name not in table.column_names]
    for field in missing:
        table = table.append_column(field, pa.nulls(len(table), field.type))
    return table.select(schema.names).cast(schema)


def _cast(column: pa.ChunkedArray, field: pa.Field, source: str) -> pa.ChunkedArray:
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise SchemaError([Problem(source, None, f"column '{field.name}': {error}")]) from None


def _readable_as(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of type `found` are meant as `wanted`: widths and encodings may differ, kinds may not."""
    if pat.is_null(found) or found == wanted:
        return True
    if pat.is_dictionary(found):
        return _readable_as(found.value_type, wanted)
    if pat.is_string(wanted):
        return pat.is_string(found) or pat.is_large_string(found) or pat.is_string_view(found)
    if pat.is_binary(wanted):
        return pat.is_binary(found) or pat.is_large_binary(found) or pat.is_binary_view(found) or pat.is_string(found)
    if pat.is_integer(wanted):
        return pat.is_integer(found)
    if pat.is_floating(wanted):
        return pat.is_floating(found) or pat.is_integer(found)
    if pat.is_list(wanted) or pat.is_fixed_size_list(wanted):
        is_list = pat.is_list(found) or pat.is_large_list(found) or pat.is_fixed_size_list(found)
        return is_list and _readable_as(found.value_type, wanted.value_type)
    return False
