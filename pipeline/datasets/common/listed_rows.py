"""Rows of a list with several sentences each, and the ids that go with them.

A row may hold a list of sentences. Its ids are a list of the same length, or one for all: `q` becomes `q`, `q_1`, ...
"""

import math
from dataclasses import dataclass, field
from typing import Any

from pipeline.datasets.common.expression_list import list_in_cell
from pipeline.datasets.common.row_file import Notes
from schemas.errors import InputError

IDS = ("video_id", "expression_id")
LISTS = "sentences in a list that was written as text; each became a row"
ONE_ID = "rows with one expression_id for several sentences; it stays with the first, the next have _1, _2 ... after it"


@dataclass(slots=True)
class ListedRow:
    """A row of a list, as one dict for each of its sentences; for an empty list one whose `expression` is []."""

    place: str
    rows: list[dict[str, Any]]
    shared: list[str] = field(default_factory=list)  # ids given once; until `share_ids`, only the first row has them

    def share_ids(self, warnings: Notes) -> None:
        """Give the ids of the first row to the others, once they are plain."""
        first, *others = self.rows
        for name in [name for name in self.shared if name in first]:
            for position, row in enumerate(others, 1):
                row[name] = f"{first[name]}_{position}" if name == "expression_id" else first[name]
            if name == "expression_id":
                warnings.append((ONE_ID, f"{first[name]} of {self.place}"))


def spread(place: str, row: dict[str, Any], warnings: Notes) -> ListedRow:
    """Make a row for each sentence of `row`. Raises InputError if a list of ids has another length."""
    row = dict(row)
    sentences = row.pop("expression", "")
    if isinstance(sentences, str) and (listed := list_in_cell(sentences)) is not None:
        warnings.append((LISTS, place))
        sentences = listed
        in_cells = {name: list_in_cell(row[name], str | int | float) for name in IDS if isinstance(row.get(name), str)}
        row |= {name: ids for name, ids in in_cells.items() if ids is not None}
    texts = sentences if isinstance(sentences, list) else [sentences]
    of_each = {name: row.pop(name) for name in IDS if isinstance(row.get(name), list)}
    for name, ids in of_each.items():
        if len(ids) != len(texts):
            what = "one sentence" if len(texts) == 1 else f"{len(texts)} sentences"
            raise InputError(f"{name} is a list of {len(ids)} for {what}; give one id for each sentence")
    shared = [name for name in IDS if name in row and len(texts) > 1]
    rows = []
    for position, text in enumerate(texts or [[]]):
        own = {name: ids[position] for name, ids in of_each.items() if ids and not _is_missing(ids[position])}
        common = {name: value for name, value in row.items() if not position or name not in shared}
        rows.append(common | own | {"expression": text})
    return ListedRow(place, rows, shared)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))
