"""Ids as text, whatever programs write for them.

A whole number is one id in all its forms: 7, 7.0, and the texts "7.0" of a column all of whose ids are whole numbers,
as pandas writes those with gaps. Numbers with a fraction, numbers that a float has rounded, and booleans are no ids.
The texts that programs write for a missing value, such as NaN, count as missing.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from pipeline.datasets.common.dataset_video import MISSING_VALUES

MOST_EXACT = 2**53  # from here on, floats are not the whole numbers that were written
NO_ID = "ids such as NaN, which programs write for missing values; they count as missing"
KEPT = "ids such as 7.0 in a column with other texts; they are kept as they are written, and differ from 7"
_WHOLE = re.compile(r"(-?[0-9]+)(\.0+)?")


def plain_id(value: Any) -> Any:
    """Return an id as text: "1" for 1, "1" and 1.0, which programs write for each other; other kinds as they are."""
    if isinstance(value, float) and value.is_integer() and abs(value) < MOST_EXACT:
        value = int(value)
    return str(value) if type(value) is int else value


def plain_column(
    rows: Sequence[tuple[str, MutableMapping[str, Any]]], column: str, notes: list[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    """Make the ids of one column texts, in place. Yield place and text of those that are none, which are removed.

    rows: with their places in the file. notes: of missing ids, and of those that look like other ones.
    """
    for place, row in rows:
        if isinstance(row.get(column), str) and row[column].lower() in MISSING_VALUES:
            notes.append((NO_ID, f"{column} {row.pop(column)} of {place}"))
    given = [(place, row) for place, row in rows if column in row]
    are_whole = all(_WHOLE.fullmatch(str(plain_id(row[column]))) for _, row in given)
    for place, row in given:
        if problem := kind_problem(row, column, are_whole):
            del row[column]
            yield place, problem
            continue
        if not are_whole and isinstance(row[column], str) and (found := _WHOLE.fullmatch(row[column])) and found[2]:
            notes.append((KEPT, f"{column} {row[column]} of {place}"))
        row[column] = plain_id(row[column])
        if are_whole and (found := _WHOLE.fullmatch(row[column])):
            row[column] = found[1]


def kind_problem(row: Mapping[str, Any], column: str, are_whole: bool = False) -> str | None:
    """Explain why the value of a column is of a kind that is no id; `are_whole` if all of its texts are numbers."""
    value = row[column]
    if isinstance(value, bool):
        return f"{column} is {value}; write a text or a whole number"
    if not isinstance(value, str | int | float):
        return f"{column} is of the type {type(value).__name__}; write a text or a whole number"
    is_rounded = isinstance(value, float) or (are_whole and str(value).endswith(".0"))
    if is_rounded and abs(float(value)) >= MOST_EXACT:
        return f"{column} {value} is a float, which rounds such numbers; write a whole number or a text"
    if isinstance(value, float) and not value.is_integer():
        return f"{column} is {value}, not a whole number; write a text or a whole number"
    return None
