"""CSV files of published data sets: a video in the first column of each row."""

import csv
import io

from pipeline.datasets.common.dataset_video import flat_id
from pipeline.io import storage
from pipeline.io.stand_in import HEAD_BYTES, stand_in
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.printable import counted

MAX_TEXT_BYTES = 2**26


def read_rows(uri: str) -> list[list[str]]:
    """Rows without empty ones. Raises FileNotFoundError, or InputError if the file is not CSV in UTF-8."""
    try:
        content = storage.read_bytes(uri, limit=MAX_TEXT_BYTES)
    except NotADirectoryError as error:
        raise FileNotFoundError(*error.args) from None
    try:
        if found := stand_in(content[:HEAD_BYTES]):
            raise InputError(f"{uri} is not CSV, but {found}")
        return [row for row in csv.reader(io.StringIO(content.decode("utf-8-sig"))) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{uri} is not CSV in UTF-8: {error}") from None


def group_by_video(uri: str, rows: list[list[str]], columns: tuple[str, ...]) -> dict[str, list[list[str]]]:
    """Group what follows the first column by video. Raises InputError that lists rows without exactly these columns."""
    groups: dict[str, list[list[str]]] = {}
    problems = []
    for number, row in enumerate(rows, 1):
        try:
            if len(row) != len(columns):
                raise InputError(counted(len(row), "value"))
            flat_id(row[0])
        except InputError as error:
            problems.append(Problem(uri, f"row {number}", f"{row} is not a row of {','.join(columns)} ({error})"))
            continue
        groups.setdefault(row[0], []).append(row[1:])
    if problems:
        raise SchemaError(problems)
    return groups
