"""Rows of a CSV, TSV, JSONL or Parquet file, or the lines of a text file."""

import csv
import json
import math
import re
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from typing import Any

from pipeline.io import parquet, storage
from pipeline.io.stand_in import HEAD_BYTES, in_place_of_table
from schemas.check import row_place
from schemas.errors import InputError
from schemas.json_text import most_values, parse

MAX_BYTES = 2**29
MAX_LINES = 2**23
MAX_VALUES = 2**24  # of all rows of a text table; each row has one for every column, however short its line is
MAX_LINE = 2**24  # characters
FORMS = ("csv", "tsv", "jsonl", "ndjson", "parquet")
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")  # as csv splits lines
NO_NAME = re.compile(r"|unnamed: [0-9]+|__index_level_[0-9]+__")  # pandas names the numbers of its rows so
AROUND = "\ufeff\u200b\u2060"  # byte order mark, zero width space and word joiner: blanks that `strip` keeps
BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + AROUND  # those of Unicode end at U+3000
MAX_COLUMNS = 1000  # of a text table

# Notes on a file, with their places.
PADDED = "values with blanks around them, which were removed"
INDEX = "columns without a name, as pandas writes its row numbers; they are left out"
NO_VALUE = "rows without any value, as spreadsheets append them; they are left out"

Notes = list[tuple[str, str]]


def read_rows(
    uri: str,
    needed: Sequence[Sequence[str]],
    forms: Sequence[str] = FORMS,
    known: Collection[str] = (),
    notes: Notes | None = None,
) -> Iterator[tuple[str, Any]]:
    """Yield place and dict of each row, or anything else for a line that is not an object: a text is the reason.

    The place is that which an editor shows: the line of a text file, or the row of a table. Blanks around names and
    texts are removed, NaN is None, decimal numbers are int or float, and columns without a name are left out, as are
    rows without any value; `notes` says so of all but the second and third.
    needed: groups of names; a table must have a column of each group. known: names that are also found in capitals.
    Raises InputError if the file is missing, of another form than `forms` (by its suffix), or damaged.
    """
    notes, unnamed = [] if notes is None else notes, set()
    for place, raw in _read(uri, needed, forms):
        if not isinstance(raw, dict):
            yield place, raw
            continue
        row: dict[str, Any] = {}
        for key, value in raw.items():
            name = without_blanks(str(key))
            if NO_NAME.fullmatch(name.lower()):
                unnamed.add(name)
                continue
            if isinstance(value, str) and value != (value := without_blanks(value)):
                notes.append((PADDED, f"{name} of {place}"))
            if isinstance(value, float) and math.isnan(value):
                value = None  # pandas writes it for missing values, also to JSON
            if isinstance(value, Decimal):
                value = int(value) if value == value.to_integral_value() else float(value)
            if name not in row:
                row[name] = value
        if all(value is None or value == "" for value in row.values()):
            notes.append((NO_VALUE, place))
            continue
        for name in [name for name in row if name not in known and name.lower() in known]:
            row.setdefault(name.lower(), row.pop(name))
        yield place, row
    notes += [(INDEX, f"{name!r} of {uri}") for name in sorted(unnamed)]


def without_blanks(text: str) -> str:
    """Return a text without blanks of any kind at its ends."""
    return text.strip(BLANKS)


def _plain(name: Any) -> str:
    return without_blanks(str(name)).lower()


def _read(uri: str, needed: Sequence[Sequence[str]], forms: Sequence[str]) -> Iterator[tuple[str, Any]]:
    form = storage.file_name(uri).lower().rpartition(".")[2]
    if form not in forms:
        what = "is a folder; give a file," if storage.is_folder(uri) else "must be"
        raise InputError(f"{uri} {what} .{', .'.join(forms[:-1])} or .{forms[-1]}")
    try:
        if form == "parquet":
            table = parquet.read_table(uri)
            _require_columns(uri, table.column_names, needed, "")
            rows = (row for batch in table.to_batches(max_chunksize=10_000) for row in batch.to_pylist())
            yield from ((row_place(number), row) for number, row in enumerate(rows))
            return
        content = storage.read_bytes(uri, limit=MAX_BYTES)
        if found := in_place_of_table(content[:HEAD_BYTES]):
            raise InputError(f"{uri} is not a .{form} file, but {found}")
        # Spreadsheets write UTF-16 as "Unicode text". The zeros of the first four bytes tell it, and UTF-32, too.
        text = content.decode(json.detect_encoding(content))
        del content
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} does not exist; give a file of sentences") from None
    except IsADirectoryError:
        raise InputError(f"{uri} is a folder; give a file of sentences") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{uri} is not UTF-8 text: {error}; save it as UTF-8 ('CSV UTF-8' in spreadsheets)") from None
    if (lines := text.count("\n")) > MAX_LINES:
        raise InputError(f"{uri} has {lines} lines; at most {MAX_LINES} are read: give several files")
    if form in ("csv", "tsv"):
        yield from _csv_rows(text, uri, needed, "\t" if form == "tsv" else ",")
    elif form == "txt":
        yield from ((place, {"expression": line.strip()}) for place, line in _lines(text))
    else:
        yield from _jsonl_rows(text, uri)


def _csv_rows(text: str, uri: str, needed: Sequence[Sequence[str]], delimiter: str) -> Iterator[tuple[str, Any]]:
    whole = text
    delimiter, text = _delimiter(text, needed, delimiter)
    before = whole.count("\n") - text.count("\n")  # lines that name the delimiter
    # strict: else an open quote swallows what follows
    reader = csv.DictReader(_csv_lines(text, uri), strict=True, delimiter=delimiter, skipinitialspace=True)
    try:
        reader.fieldnames = names = [*map(without_blanks, reader.fieldnames or ())]
        if len(names) > MAX_COLUMNS:
            raise InputError(f"{uri} has {len(names)} columns; at most {MAX_COLUMNS} are read")
        if (values := len(names) * (text.count("\n") + text.count("\r"))) > MAX_VALUES:
            raise InputError(f"{uri} has {values} values; at most {MAX_VALUES} are read: give several files")
        if duplicates := sorted({name for name in names if name and names.count(name) > 1}):
            raise InputError(f"{uri}: duplicate column {duplicates[0]!r}; rename or remove one")
        _require_columns(uri, names, needed, f", and {'tabs' if delimiter != ',' else 'commas'} between columns")
        for row in reader:
            place = f"line {before + reader.line_num - _line_breaks(row)}"
            if not any(map(without_blanks, row.pop(None, []))):
                yield place, _swallowed(row, delimiter) or row
            else:
                yield place, "more values than columns"
    except csv.Error as error:
        raise InputError(f"{uri} after line {before + reader.line_num}: {error}") from None


def _csv_lines(text: str, uri: str) -> Iterator[str]:
    """Yield each line with its end. The text is not copied: a copy would take four bytes a character."""
    for number, found in enumerate(LINE.finditer(text), 1):
        if found.end() - found.start() > MAX_LINE:
            raise InputError(f"{uri}: line {number} has more than {MAX_LINE} characters; correct the file")
        yield found[0]


def _swallowed(row: dict[str, str | None], delimiter: str) -> str:
    """Return a problem if a quote that was left open has swallowed the rows after its own; "" if not.

    A value with line breaks is usual. One of its lines with as many values as the table has columns is another row.
    """
    for name, value in row.items():
        for line in (value or "").splitlines()[1:]:
            if len(row) > 1 and line.count(delimiter) == len(row) - 1:
                return (
                    f"'{name}' goes on with the line {line[:60]!r}, which looks like a row of its own; close the quote"
                )
    return ""


def _delimiter(text: str, needed: Sequence[Sequence[str]], usual: str) -> tuple[str, str]:
    """Return the character between columns, and the text from the header on.

    Spreadsheets write semicolons where commas are decimal, and may name the character in a first line `sep=;`.
    """
    end = text.find("\n", 0, MAX_LINE)
    first = text[: end if end >= 0 else MAX_LINE]
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == len("sep=;"):
        return first[4], text[len(first) + 1 :]
    for delimiter in (usual, ",", ";", "\t"):
        names = {_plain(_plain(name).strip('"')) for name in first.split(delimiter)}
        if all(names & {*group} for group in needed):
            return delimiter, text
    return usual, text


def _line_breaks(row: dict) -> int:
    values = [value for value in row.values() if isinstance(value, str)] + list(row.get(None, []))
    return sum(value.count("\n") for value in values)


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield place and text of each line that is not blank."""
    at, number = 0, 0
    while at <= len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        number += 1
        if line := text[at:end].strip():
            yield f"line {number}", line
        at = end + 1


def _jsonl_rows(text: str, uri: str) -> Iterator[tuple[str, Any]]:
    if (values := most_values(text)) > MAX_VALUES:
        raise InputError(f"{uri} has {values} values; at most {MAX_VALUES} are read: give several files")
    for place, line in _lines(text):
        try:
            yield place, parse(line, unique_keys=True)
        except ValueError as error:
            yield place, f"not valid JSON: {error}"


def _require_columns(uri: str, names: Sequence[str], needed: Sequence[Sequence[str]], also: str) -> None:
    for group in needed:
        if not set(group) & set(map(_plain, names)):
            have, wanted = ", ".join(map(repr, names)) or "empty", " or ".join(map(repr, group))
            raise InputError(f"the header of {uri} is {have}; it needs a column {wanted}{also}")
