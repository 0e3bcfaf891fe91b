"""Tables of means by attribute, coloured by the distance of each mean from that of all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.counted_pairs import CountedPairs
from pipeline.evaluation.summary.grouping import COMPUTED_ATTRIBUTES, Grouping, spell_out
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.report.page import interval, interval_of, number, truncate
from pipeline.report.plots import UNIT, Whisker
from schemas.errors import InputError

MOST_GROUPS = 12  # an attribute with more values is not shown, unless --by named it
MOST_ATTRIBUTES = 16
MOST_METRICS = 7
COLOUR_STEP = 0.03
COLOUR_STEPS = 4  # in each direction


@dataclass(frozen=True, slots=True)
class AttributeGroup:
    """The pairs with one value of an attribute; `cells` are texts with the class of their colour."""

    value: str
    n: int
    videos: int
    whisker: Whisker | None
    interval: str
    cells: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class AttributeTable:
    name: str
    about: str
    groups: Sequence[AttributeGroup]


def attribute_tables(scored: ScoreFolder, pairs: pd.DataFrame, metrics: Sequence[str]) -> list[AttributeTable]:
    """Return the breakdowns of --by, then every other attribute that has few values or can be binned."""
    rows_of: dict[str, list[dict]] = dict(scored.summary.get("by") or {})
    parsed = [Grouping.parse(text) for text in rows_of]
    shown = {by.columns[0].name for by in parsed if len(by.columns) == 1}
    if not scored.protocol.per_frame:  # else the weights of the pairs would be needed
        for column in pairs.columns:
            if column not in (*SCORE_IDS[:3], *scored.metrics, "frames", *shown) and Grouping.is_column(column):
                rows_of[column] = _breakdown(scored, pairs, Grouping.parse(column))
    overall = scored.summary["overall"]
    kept = [(name, rows[: 4 * MOST_GROUPS]) for name, rows in rows_of.items() if len(rows) > 1][:MOST_ATTRIBUTES]
    return [
        AttributeTable(name, COMPUTED_ATTRIBUTES.get(name, ""), [_group(row, overall, metrics) for row in rows])
        for name, rows in kept
    ]


def _breakdown(scored: ScoreFolder, pairs: pd.DataFrame, by: Grouping) -> list[dict]:
    """Means by an attribute; none if it has too many values, or values that cannot be grouped."""
    metrics = tuple(name for name in scored.metrics if name in pairs and name != "J&F")
    weights = pairs[list(metrics)].notna().to_numpy(np.float64)
    try:
        if len({value for values in by.values(pairs) for value in values}) > MOST_GROUPS:
            return []
        return CountedPairs(pairs, metrics, weights, scored.protocol).by(by)
    except (InputError, TypeError):
        return []


def _group(row: dict, overall: dict, metrics: Sequence[str]) -> AttributeGroup:
    main, ends = row.get(metrics[0]), interval_of(row, metrics[0])
    whisker = None if main is None else Whisker(main, *ends, UNIT, overall.get(metrics[0]))
    cells = [(number(row.get(metric)), _colour(metric, row.get(metric), overall.get(metric))) for metric in metrics]
    value = truncate(spell_out(row["value"]), 60)
    return AttributeGroup(value, row["n"], row["videos"], whisker, interval(ends), cells)


def _colour(metric: str, value: float | None, mean: float | None) -> str:
    """Return the class of a cell by its distance from the mean; neutral for metrics where more is not better."""
    if value is None or mean is None or value != value or "decay" in metric:
        return "z0"
    steps = int(np.clip(round((value - mean) / COLOUR_STEP), -COLOUR_STEPS, COLOUR_STEPS))
    return "z0" if steps == 0 else f"{'p' if steps > 0 else 'm'}{abs(steps)}"
