"""By what scores are broken down: columns of the manifest, computed attributes, bins of numbers, and crossings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.object_attributes import VISUAL
from schemas.errors import InputError

TEXTUAL = {
    "words": "number of words of the expression",
    "expressions_per_video": "expressions of the manifest for the video",
}
COMPUTED = {**VISUAL, **TEXTUAL}
NO_VALUE = "(none)"  # how a missing attribute is shown
MANY = 20  # more different numbers than these are put into quartiles
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
    """One attribute: its column, and into what its numbers are binned (neither: as they are, or quartiles if many)."""

    name: str
    quantiles: int | None = None
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Grouping:
    """One `--by`: `kind`, `size:q4` (quantiles), `words:4/8` (edges), or several of these with commas, crossed."""

    text: str
    columns: tuple[GroupColumn, ...]

    @classmethod
    def parse(cls, text: str) -> "Grouping":
        """Raises InputError if it is none of the forms."""
        return cls(text, tuple(_axis(part.strip(), text) for part in text.split(",")))

    @staticmethod
    def is_column(text: str) -> bool:
        """Whether a `--by` of this text would mean one column of this name."""
        match = None if "," in text else _BINS.fullmatch(text)
        return match is not None and match["name"] == text

    def values(self, pairs: pd.DataFrame) -> pd.Series:
        """For each pair the list of values under which it counts: several where a column holds lists."""
        columns: list[Any] = [_values(pairs[column.name], column) for column in self.columns]
        if len(columns) == 1:
            return columns[0]
        crossed = [_cross(cells) for cells in zip(*columns, strict=True)]
        return pd.Series(crossed, index=pairs.index, dtype=object)


def _axis(part: str, text: str) -> GroupColumn:
    match = _BINS.fullmatch(part)
    try:
        if match is None:
            raise ValueError
        edges = tuple(float(edge) for edge in (match["edges"] or "").split("/") if edge)
        if list(edges) != sorted(set(edges)):
            raise ValueError
    except ValueError:
        forms = "a column, column:q4 for quantiles, column:3/6/10 for rising edges, or several with commas"
        raise InputError(f"--by {text}: not understood; give {forms}") from None
    return GroupColumn(match["name"], int(match["quantiles"]) if match["quantiles"] else None, edges)


def value_order(value: object) -> tuple:
    """To sort values by: numbers by size, bins and texts by alphabet, then what is missing."""
    if isinstance(value, tuple):
        return (3, tuple(value_order(part) for part in value))
    if isinstance(value, Bin):
        return (0, value.low, "")
    if isinstance(value, str):
        return (2 if value == NO_VALUE else 1, 0.0, value)
    return (0, float(value), "")  # pyright: ignore[reportArgumentType]


def value_label(value: object) -> str | int | float | bool:
    """A value as tables and JSON show it."""
    if isinstance(value, tuple):
        return " × ".join(str(value_label(part)) for part in value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return str(value) if isinstance(value, Bin) else value  # pyright: ignore[reportReturnType]


def spell_out(value: object) -> str:
    """Shorten a label for tables: fractions to four digits, DAVIS codes followed by their meaning."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f"{text}  {DAVIS_CODES[text]}" if text in DAVIS_CODES else text


@dataclass(frozen=True, slots=True)
class Bin:
    """Numbers from `low` up to, but without, `high`; the last one of quantiles has its end in it."""

    low: float
    high: float

    def __str__(self) -> str:
        if np.isinf(self.low):
            return f"< {self.high:.4g}"
        return f">= {self.low:.4g}" if np.isinf(self.high) else f"{self.low:.4g} to {self.high:.4g}"


def _values(cells: Any, column: GroupColumn) -> Any:
    cells = cells.map(_cell)
    numbers = [value for values in cells for value in values if _is_number(value)]
    bins = _bins(numbers, column, others=any(isinstance(v, str) and v != NO_VALUE for values in cells for v in values))
    if not bins:
        return cells
    edges = [one.low for one in bins[1:]]

    def binned(values: list) -> list:
        return [bins[int(np.searchsorted(edges, v, side="right"))] if _is_number(v) else v for v in values]

    return cells.map(binned)


def _bins(numbers: list, column: GroupColumn, *, others: bool) -> list[Bin]:
    """The bins of a column; none where values stay as they are."""
    asked = bool(column.quantiles or column.edges)
    if others or not numbers:
        if asked:
            raise InputError(f"--by {column.name}: only numbers can be binned, and the column holds others or none")
        return []
    if column.edges:
        edges = [-np.inf, *column.edges, np.inf]
    elif asked or len(set(numbers)) > MANY:
        edges = np.unique(np.quantile(numbers, np.linspace(0, 1, (column.quantiles or 4) + 1))).tolist()
    else:
        return []
    return [Bin(low, high) for low, high in pairwise(edges)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell(value: object) -> list:
    """The values under which one cell counts."""
    if isinstance(value, list | tuple | np.ndarray):
        return sorted({_plain(item) for item in value}, key=value_order) or [NO_VALUE]
    return [_plain(value)]


def _plain(value: object) -> object:
    """A cell as Python and JSON know it; missing ones as NO_VALUE."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return NO_VALUE
    return value if isinstance(value, str | int | float | bool) else str(value)


def _cross(cells: Sequence[list]) -> list[tuple]:
    crossed: list[tuple] = [()]
    for values in cells:
        crossed = [(*before, value) for before in crossed for value in values]
    return crossed


def textual_attributes(manifest: pd.DataFrame) -> pd.DataFrame:
    """TEXTUAL for each row of a manifest with `video_id` and `expression`."""
    per_video = manifest.groupby("video_id")["video_id"].transform("size")
    words = manifest["expression"].map(lambda text: len(text.split()) if isinstance(text, str) else 0)
    return pd.DataFrame({"words": words, "expressions_per_video": per_video})
