"""Group pairs by attributes: manifest columns, computed attributes, bins of numbers, and combinations of these."""

import itertools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.object_attributes import MASK_ATTRIBUTES
from schemas.errors import InputError
from schemas.printable import one_line

SENTENCE_ATTRIBUTES = {
    "words": "number of words in the expression",
    "expressions_per_video": "number of expressions that the manifest has for the video",
}
COMPUTED_ATTRIBUTES = {**MASK_ATTRIBUTES, **SENTENCE_ATTRIBUTES}
NO_VALUE = "(none)"  # label of a missing attribute
QUARTILES_ABOVE = 20  # a column with more distinct numbers is cut into quartiles
DAVIS_CODES = {
    "AC": "appearance change",
    "BC": "background clutter",
    "CS": "camera shake",
    "DB": "dynamic background",
    "DEF": "deformation",
    "EA": "edge ambiguity",
    "FM": "fast motion",
    "HO": "heterogeneous object",
    "IO": "interacting objects",
    "LR": "low resolution",
    "MB": "motion blur",
    "OCC": "occlusion",
    "OV": "out of view",
    "SC": "shape complexity",
    "SV": "scale variation",
}
_BINS = re.compile(r"(?P<name>[^:]+)(:(q(?P<quantiles>[1-9]\d?)|(?P<edges>-?[\d.e]+(/-?[\d.e]+)*)))?")


@dataclass(frozen=True, slots=True)
class GroupColumn:
    """One attribute of a grouping. Without quantiles and edges, numbers are cut into quartiles if they are many."""

    name: str
    quantiles: int | None = None
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouping:
    """One `--by`: `kind`, `size:q4` (quantiles), `words:4/8` (edges), or several with commas, combined."""

    text: str
    columns: tuple[GroupColumn, ...]

    @classmethod
    def parse(cls, text: str) -> "Grouping":
        """Raises InputError if `text` has none of the forms."""
        columns = []
        for part in text.split(","):
            match = _BINS.fullmatch(part.strip())
            try:
                if match is None:
                    raise ValueError
                edges = tuple(float(edge) for edge in (match["edges"] or "").split("/") if edge)
                if list(edges) != sorted(set(edges)):
                    raise ValueError
            except ValueError:
                forms = "a column, column:q4 for quantiles, column:3/6/10 for rising edges, or several with commas"
                raise InputError(f"--by {text}: not understood; give {forms}") from None
            columns.append(GroupColumn(match["name"], int(match["quantiles"]) if match["quantiles"] else None, edges))
        return cls(text, tuple(columns))

    @staticmethod
    def is_column(text: str) -> bool:
        """Return whether a `--by` of this text means one column of this name."""
        match = None if "," in text else _BINS.fullmatch(text)
        return match is not None and match["name"] == text

    def values(self, pairs: pd.DataFrame) -> pd.Series:
        """Return for each pair the list of values it counts under: several where a column holds lists."""
        columns: list[Any] = [_values(pairs[column.name], column) for column in self.columns]
        if len(columns) == 1:
            return columns[0]
        combined = [list(itertools.product(*cells)) for cells in zip(*columns, strict=True)]
        return pd.Series(combined, index=pairs.index, dtype=object)


def group_rows(values: pd.Series) -> dict[object, list[int]]:
    """Return the numbers of the rows that count under each value, sorted by value; see `Grouping.values`."""
    groups: dict[object, list[int]] = {}
    for row, of_row in enumerate(values):
        for value in of_row:
            groups.setdefault(value, []).append(row)
    return {value: groups[value] for value in sorted(groups, key=value_order)}


@dataclass(frozen=True, slots=True)
class Bin:
    """Numbers from `low` up to, but excluding, `high`; the last quantile includes its end."""

    low: float
    high: float

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"< {self.high:.4g}"
        return f">= {self.low:.4g}" if np.isinf(self.high) else f"{self.low:.4g} to {self.high:.4g}"


def value_order(value: object) -> tuple:
    """Return a sort key: numbers by size, bins and texts alphabetically, missing values last."""
    if isinstance(value, tuple):
        return (3, tuple(value_order(part) for part in value))
    if isinstance(value, Bin):
        return (0, value.low, "")
    if isinstance(value, str):
        return (2 if value == NO_VALUE else 1, 0.0, value)
    return (0, float(value), "")  # pyright: ignore[reportArgumentType]


def value_label(value: object) -> str | int | float | bool:
    """Return a value as tables and JSON show it."""
    if isinstance(value, tuple):
        labels = (value_label(part) for part in value)
        return " × ".join(f"{label:.4g}" if isinstance(label, float) else str(label) for label in labels)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Bin) else value  # pyright: ignore[reportReturnType]


def spell_out(value: object) -> str:
    """Format a label for tables, on one line: fractions with four digits, DAVIS codes followed by their meaning."""
    text = f"{value:.4g}" if isinstance(value, float) else one_line(str(value))
    return f"{text}  {DAVIS_CODES[text]}" if text in DAVIS_CODES else text


def _values(cells: Any, column: GroupColumn) -> Any:
    """Return the list of values of each cell, with numbers replaced by their bins."""
    cells = cells.map(_cell_values)
    values = [value for of_cell in cells for value in of_cell]
    numbers = [value for value in values if _is_number(value)]
    bins = _bins(numbers, column, others=any(isinstance(value, str) and value != NO_VALUE for value in values))
    if not bins:
        return cells
    edges = [one.low for one in bins[1:]]
    return cells.map(
        lambda of_cell: [bins[int(np.searchsorted(edges, v, side="right"))] if _is_number(v) else v for v in of_cell]
    )


def _bins(numbers: list, column: GroupColumn, *, others: bool) -> list[Bin]:
    """Return the bins of a column; none where values stay as they are. `others`: it also holds texts."""
    requested = bool(column.quantiles or column.edges)
    if others or not numbers:
        if requested:
            raise InputError(f"--by {column.name}: only numbers can be binned, and the column has others or none")
        return []
    if column.edges:
        edges = [-np.inf, *column.edges, np.inf]
    elif requested or len(set(numbers)) > QUARTILES_ABOVE:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, (column.quantiles or 4) + 1))).tolist()
    else:
        return []
    return [Bin(low, high) for low, high in itertools.pairwise(edges)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell_values(cell: object) -> list:
    """Return the values of one cell as JSON types, missing ones as NO_VALUE; a list counts under each of its items."""
    is_list = isinstance(cell, list | tuple | np.ndarray)
    values = []
    for value in cell if is_list else [cell]:  # pyright: ignore[reportGeneralTypeIssues]
        value = value.item() if isinstance(value, np.generic) else value
        if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
            value = NO_VALUE
        values.append(value if isinstance(value, str | int | float | bool) else str(value))
    return (sorted(set(values), key=value_order) or [NO_VALUE]) if is_list else values


def sentence_attributes(manifest: pd.DataFrame) -> pd.DataFrame:
    """Return SENTENCE_ATTRIBUTES for each row of a manifest with `video_id` and `expression`."""
    per_video = manifest.groupby("video_id")["video_id"].transform("size")
    words = manifest["expression"].map(lambda text: len(text.split()) if isinstance(text, str) else 0)
    return pd.DataFrame({"words": words, "expressions_per_video": per_video})
