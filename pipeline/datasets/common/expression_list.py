"""A file of your own sentences: a table with a column `expression`, JSONL, or plain text with one in each line.

Columns are `expression` and, optional, `video` (without it a row applies to all videos) and `expression_id`. Further
columns are attributes.
"""

import ast
import json
import re
from collections.abc import Collection, Iterator
from types import UnionType
from typing import Any

from pipeline.datasets.common.dataset_video import ATTRIBUTES_WITH_A_COLUMN, DatasetVideo, id_problem
from pipeline.datasets.common.plain_ids import plain_column
from pipeline.datasets.common.row_file import FORMS, Notes, read_rows
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.manifest import MANIFEST

OWN = ("video", "expression_id", "expression")
NOT_HERE = (set(MANIFEST.names) - set(ATTRIBUTES_WITH_A_COLUMN) - set(OWN)) | {"video_id"}

SPREADSHEET = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+[0-9]+")
ROUNDED = (
    "expression_ids in the form 1E+05, to which spreadsheets round long numbers; check that they are as you wrote them"
)
LIST_IN_CELL = "expressions that look like a list of several; write a row for each, or use 'rvos import list'"
MAX_CELL = 2**16  # bytes of a list in a cell
_LIST = re.compile(r"\s*\[\s*['\"\]0-9-]")
TWICE = "expressions that a video has twice"
LINE_BREAK = "expressions with a line break; check that no quote was left open before it"

PlacedRow = tuple[str, dict]  # place in the file of sentences, in words, and columns


def read(uri: str, notes: Notes | None = None) -> list[PlacedRow]:
    """Rows with their places and without empty values; values are plain. `notes`: as of `read_rows`.

    Raises InputError that lists all invalid rows.
    """
    rows, problems = list[PlacedRow](), []
    notes = [] if notes is None else notes
    for place, row in read_rows(uri, [("expression",)], (*FORMS, "txt"), OWN, notes):
        found = list(row_problems(row, NOT_HERE, OWN))
        problems += [Problem(uri, place, problem) for problem in found]
        if not found:
            kept = {key: value for key, value in row.items() if key == "expression" or value not in (None, "")}
            if list_in_cell(kept["expression"]) is not None:
                notes.append((LIST_IN_CELL, place))
            rows.append((place, kept))
    if problems:
        raise SchemaError(problems)
    if not rows:
        raise InputError(f"{uri} has no expressions")
    if problems := [Problem(uri, place, text) for place, text in plain_column(rows, "expression_id", notes)]:
        raise SchemaError(problems)
    return rows


def list_in_cell(text: str, kinds: UnionType | type = str) -> list[Any] | None:
    """Return the list that a cell holds as JSON or Python writes it; None if it is no list of `kinds`."""
    if not _LIST.match(text) or len(text) > MAX_CELL:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return found if isinstance(found, list) and all(isinstance(one, kinds) for one in found) else None
    return None


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
        if value is not None and key != "expression" and not isinstance(value, str | int | float | bool):
            yield f"'{key}' must be a plain value"
        elif isinstance(value, str) and "\0" in value:
            yield f"'{key}' has a NUL character, which no table of sentences has; correct the file or its encoding"


def add_pairs(video: DatasetVideo, common: dict, rows: list[PlacedRow], own: Collection[str] = OWN) -> None:
    """Add a pair for each row; sentences without an id get the first free numbers. Keys not in `own` are attributes."""
    taken, texts = set[str](), set[str]()
    free = 0
    for place, row in sorted(rows, key=lambda placed: "expression_id" not in placed[1]):  # given ids first
        if "expression_id" in row:
            expression_id = str(row["expression_id"])
            problem = id_problem(expression_id)
            if problem or expression_id in taken:
                text = problem or f"duplicate expression_id {expression_id!r}; make it unique within its video"
                video.problems.append(f"{place} of the expressions: {text}")
                continue
        else:
            while str(free) in taken:
                free += 1
            expression_id = str(free)
        if SPREADSHEET.fullmatch(expression_id):
            video.warnings.append((ROUNDED, f"{video.video_id} expression {expression_id}"))
        if len(row["expression"].splitlines()) > 1:
            video.warnings.append((LINE_BREAK, f"{place}, {video.video_id} expression {expression_id}"))
        if row["expression"].strip() and row["expression"] in texts:
            video.warnings.append((TWICE, f"{place}, {video.video_id} expression {expression_id}"))
        texts.add(row["expression"])
        taken.add(expression_id)
        more = {key: value for key, value in row.items() if key not in own}
        video.pairs.append(common | {"expression_id": expression_id, "expression": row["expression"]} | more)
    video.check_texts()
