"""A file of your own sentences: CSV with a header, JSONL, or plain text with one in each line.

Columns are `expression` and, optional, `video` (without it a row applies to all videos) and `expression_id`. Further
columns are attributes.
"""

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from pipeline.datasets.common.dataset_video import ATTRIBUTES_WITH_A_COLUMN
from pipeline.io import storage
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.manifest import MANIFEST

MAX_BYTES = 2**30
OWN = ("video", "expression_id", "expression")
NOT_HERE = (set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) - set(OWN)) | {"video_id"}


def read(uri: str) -> list[tuple[int, dict]]:
    """Rows with their numbers (from 0) and without empty values; values are text or, in JSONL, plain.

    Raises InputError that lists all invalid rows.
    """
    try:
        text = storage.read_bytes(uri, limit=MAX_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{uri} does not exist; give the sentences with --expressions") from None
    except IsADirectoryError:
        raise InputError(f"{uri} is a folder; give a file of sentences with --expressions") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{uri} is not UTF-8 text: {error}") from None
    reader = {"csv": _csv_rows, "jsonl": _jsonl_rows, "txt": _txt_rows}.get(uri.lower().rpartition(".")[2])
    if reader is None:
        raise InputError(f"{uri} must be .csv, .jsonl or .txt")
    rows, problems = [], []
    for number, row in enumerate(reader(text, uri)):
        found = list(_problems(row))
        problems += [Problem(uri, number, problem) for problem in found]
        if not found:
            kept = {key: value for key, value in row.items() if key == "expression" or value not in (None, "")}
            rows.append((number, kept))
    if problems:
        raise SchemaError(problems)
    if not rows:
        raise InputError(f"{uri} has no expressions")
    return rows


def _csv_rows(text: str, uri: str) -> Iterator[Any]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)  # else an open quote swallows what follows
    try:
        names = reader.fieldnames or ()
        if duplicates := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"{uri}: duplicate column {duplicates[0]!r}; rename or remove one")
        if "expression" not in names:
            have = ", ".join(map(repr, names)) or "empty"
            raise InputError(
                f"the header of {uri} is {have}; it needs a column 'expression', and commas between columns"
            )
        for row in reader:
            yield "more values than columns" if None in row else row
    except csv.Error as error:
        raise InputError(f"{uri} after line {reader.line_num}: {error}") from None


def _jsonl_rows(text: str, uri: str) -> Iterator[Any]:
    for line in text.split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                yield f"not valid JSON: {error}"


def _txt_rows(text: str, uri: str) -> Iterator[Any]:
    yield from ({"expression": line.strip()} for line in text.split("\n") if line.strip())


def _problems(row: Any) -> Iterator[str]:
    if not isinstance(row, dict):
        yield row if isinstance(row, str) else "must be a JSON object"
        return
    if not isinstance(row.get("expression"), str):
        yield "'expression' must be a text"
    if taken := sorted(NOT_HERE & row.keys()):
        yield f"'{taken[0]}' is a manifest column; rename or remove it (known: {', '.join(OWN)}, and attributes)"
    for key, value in row.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            yield f"'{key}' must be a plain value"
