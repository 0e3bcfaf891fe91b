"""Tables of means by attribute, coloured by how far each is from the mean of all pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.attributes import COMPUTED, Grouping, spell_out
from pipeline.evaluation.summary.breakdown import Scores
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.report.page import cut, interval, number
from pipeline.report.plots import UNIT, Whisker
from schemas.errors import InputError

GROUPS = 12  # an attribute of more values is no heading of a table
ATTRIBUTES = 16
COLUMNS = 7  # metrics
STEP = 0.03  # of one colour
STRONGEST = 4


def headline(scored: ScoreFolder) -> list[dict]:
    """One tile for each metric: name, value, interval, whisker."""
    tiles = []
    for metric in scored.metrics:
        estimate = scored.summary["overall"][metric], *_ends(scored.summary["overall"], metric)
        within = all(value is not None and 0 <= value <= 1 for value in estimate)
        tiles.append(
            {
                "metric": metric,
                "value": number(estimate[0]),
                "interval": interval(estimate[1:]),
                "whisker": Whisker(*estimate, UNIT) if within else None,  # pyright: ignore[reportArgumentType]
            }
        )
    return tiles


def metric_columns(scored: ScoreFolder) -> list[str]:
    """The metrics that a table of attributes has room for."""
    return [metric for metric in scored.metrics if metric != "mAP"][:COLUMNS]


@dataclass(frozen=True, slots=True)
class Group:
    """One value of an attribute; `cells` are texts with the class of their colour."""

    value: str
    n: int
    videos: int
    whisker: Whisker | None
    interval: str
    cells: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    about: str
    groups: Sequence[Group]


def attributes(scored: ScoreFolder, pairs: pd.DataFrame, metrics: Sequence[str]) -> list[Attribute]:
    """What --by asked for, then every other attribute in the scores that has a few values or can be binned."""
    rows_of: dict[str, list[dict]] = dict(scored.summary.get("by") or {})
    asked = {Grouping.parse(text).columns[0].name for text in rows_of if len(Grouping.parse(text).columns) == 1}
    if not scored.protocol.per_frame:  # else the weights of the pairs would be needed
        for column in pairs.columns:
            if column not in (*SCORE_IDS[:3], *scored.metrics, "frames", *asked):
                rows_of[column] = _rows(scored, pairs, column)
    overall = scored.summary["overall"]
    told = [(of, rows[: 4 * GROUPS]) for of, rows in rows_of.items() if len(rows) > 1][:ATTRIBUTES]
    return [Attribute(of, COMPUTED.get(of, ""), [_group(row, overall, metrics) for row in rows]) for of, rows in told]


def _rows(scored: ScoreFolder, pairs: pd.DataFrame, column: str) -> list[dict]:
    by = Grouping.parse(column) if Grouping.is_column(column) else None
    if by is None:
        return []
    metrics = tuple(name for name in scored.metrics if name in pairs and name != "J&F")
    weights = pairs[list(metrics)].notna().to_numpy(np.float64)
    try:
        if len({value for values in by.values(pairs) for value in values}) > GROUPS:
            return []
        return Scores(pairs, metrics, weights, scored.protocol).by(by)
    except (InputError, TypeError):  # values of a kind that cannot be grouped
        return []


def _group(row: dict, overall: dict, metrics: Sequence[str]) -> Group:
    main, ends = row.get(metrics[0]), _ends(row, metrics[0])
    whisker = None if main is None else Whisker(main, *ends, UNIT, overall.get(metrics[0]))
    cells = [(number(row.get(metric)), _colour(metric, row.get(metric), overall.get(metric))) for metric in metrics]
    return Group(cut(spell_out(row["value"]), 60), row["n"], row["videos"], whisker, interval(ends), cells)


def _ends(row: dict, metric: str) -> tuple[float | None, float | None]:
    ends = (row.get("interval") or {}).get(metric)
    return (None, None) if ends is None else (ends[0], ends[1])


def _colour(metric: str, value: float | None, mean: float | None) -> str:
    """Class of a cell by its distance from the overall mean; none where more is not better."""
    if value is None or mean is None or value != value or "decay" in metric:
        return "z0"
    steps = int(np.clip(round((value - mean) / STEP), -STRONGEST, STRONGEST))
    return "z0" if steps == 0 else f"{'p' if steps > 0 else 'm'}{abs(steps)}"
