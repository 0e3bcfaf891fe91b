"""A file of your own sentences: a table with a column `expression`, JSONL, or plain text with one in each line.

Columns are `expression` and, optional, `video` (without it a row applies to all videos) and `expression_id`. Further
columns are attributes.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any

from pipeline.datasets.common.dataset_video import ATTRIBUTES_WITH_A_COLUMN, DatasetVideo, id_problem
from pipeline.datasets.common.row_file import FORMS, Notes, read_rows
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.manifest import MANIFEST

OWN = ("video", "expression_id", "expression")
NOT_HERE = (set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) - set(OWN)) | {"video_id"}

WHOLE, SPREADSHEET = re.compile(r"[0-9]+\.0"), re.compile(r"[0-9]([.,][0-9]+)?[eE]\+[0-9]+")
ROUNDED = (
    "expression_ids in the form 1E+05, to which spreadsheets round long numbers; check that they are as you wrote them"
)
MOST_EXACT = 2**53  # from here on, floats are not the whole numbers that were written
TWICE = "expressions that a video has twice"
LINE_BREAK = "expressions with a line break; check that no quote was left open before it"

NumberedRow = tuple[int, dict]  # position in the file of sentences, and columns


def read(uri: str, notes: Notes | None = None) -> list[NumberedRow]:
    """Rows with their numbers (from 0) and without empty values; values are plain. `notes`: as of `read_rows`.

    Raises InputError that lists all invalid rows.
    """
    rows, problems = [], []
    for number, row in enumerate(read_rows(uri, [("expression",)], (*FORMS, "txt"), OWN, notes)):
        found = list(row_problems(row, NOT_HERE, OWN))
        problems += [Problem(uri, number, problem) for problem in found]
        if not found:
            kept = {key: value for key, value in row.items() if key == "expression" or value not in (None, "")}
            rows.append((number, kept))
    if problems:
        raise SchemaError(problems)
    if not rows:
        raise InputError(f"{uri} has no expressions")
    if problems := [Problem(uri, number, text) for number, text in whole_ids(rows, "expression_id")]:
        raise SchemaError(problems)
    return rows


def whole_ids(rows: list[NumberedRow], column: str) -> Iterator[tuple[int, str]]:
    """Turn the ids 1.0, 2.0 ... of a column into 1, 2 ... if all of them are such: pandas writes whole numbers with
    gaps so. Yield row number and text of ids that are none: booleans, and numbers that a float has rounded.
    """
    given = [(number, row) for number, row in rows if column in row]
    are_whole = all(WHOLE.fullmatch(str(row[column])) for _, row in given)
    for number, row in given:
        value = row[column]
        if isinstance(value, bool):
            yield number, f"{column} is {value}; write a text or a whole number"
        elif (isinstance(value, float) or are_whole) and abs(float(value)) >= MOST_EXACT:
            yield number, f"{column} {value} is a float, which rounds such numbers; write a whole number or a text"
        elif are_whole:
            row[column] = str(value).removesuffix(".0")


def row_problems(row: Any, not_here: Collection[str], own: Collection[str]) -> Iterator[str]:
    """Yield what is wrong with a row of `read_rows`; `not_here` are names that it may not have, `own` known ones."""
    if not isinstance(row, dict):
        yield row if isinstance(row, str) else "must be a JSON object"
        return
    if not isinstance(row.get("expression"), str):
        yield "'expression' must be a text"
    if taken := sorted(not_here & row.keys()):
        yield f"'{taken[0]}' is a manifest column; rename or remove it (known: {', '.join(own)}, and attributes)"
    for key, value in row.items():
        if value is not None and not isinstance(value, str | int | float | bool):
            yield f"'{key}' must be a plain value"
        elif isinstance(value, str) and "\0" in value:
            yield f"'{key}' has a NUL character, which no table of sentences has; correct the file or its encoding"


def add_pairs(video: DatasetVideo, common: dict, rows: list[NumberedRow], own: Collection[str] = OWN) -> None:
    """Add a pair for each row; sentences without an id get the first free numbers. Keys not in `own` are attributes."""
    taken, texts = set[str](), set[str]()
    free = 0
    for number, row in sorted(rows, key=lambda numbered: "expression_id" not in numbered[1]):  # given ids first
        if "expression_id" in row:
            expression_id = str(row["expression_id"])
            problem = id_problem(expression_id)
            if problem or expression_id in taken:
                text = problem or f"duplicate expression_id {expression_id!r}; make it unique within its video"
                video.problems.append(f"row {number} of the expressions: {text}")
                continue
        else:
            while str(free) in taken:
                free += 1
            expression_id = str(free)
        if SPREADSHEET.fullmatch(expression_id):
            video.warnings.append((ROUNDED, f"{video.video_id} expression {expression_id}"))
        if len(row["expression"].splitlines()) > 1:
            video.warnings.append((LINE_BREAK, f"row {number}, {video.video_id} expression {expression_id}"))
        if row["expression"].strip() and row["expression"] in texts:
            video.warnings.append((TWICE, f"row {number}, {video.video_id} expression {expression_id}"))
        texts.add(row["expression"])
        taken.add(expression_id)
        more = {key: value for key, value in row.items() if key not in own}
        video.pairs.append(common | {"expression_id": expression_id, "expression": row["expression"]} | more)
    video.check_texts()
