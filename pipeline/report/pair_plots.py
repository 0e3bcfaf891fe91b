"""Plots with a dot or a count for each pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import clustered_means
from pipeline.report.page import cut, interval, number
from pipeline.report.plots import UNIT, Axis, Bar, Line, Mark, Plot, Point, Table

MANY = 1500  # pairs; more are drawn as one dot for all that are nearly alike
GRID = 50  # cells of each axis then
LISTED = 50  # pairs at each end of a long table
BINS = 20

PairIds = tuple[str, ...]  # ids of a pair, in the order of SCORE_IDS


def keys(pairs: Any) -> list[PairIds]:
    """The ids of each pair."""
    return list(pairs[list(SCORE_IDS)].itertuples(index=False, name=None))


def name(key: PairIds) -> str:
    """A pair in few letters: video, then expression or else object."""
    video, expression, thing, _ = key
    return f"{cut(video, 60)} · {cut(expression or thing, 60)}"


def histogram(pairs: pd.DataFrame, metric: str) -> Plot:
    """How many pairs have which score."""
    values = pairs[metric].dropna().to_numpy()
    counts, edges = np.histogram(np.clip(values, 0, 1), BINS, (0, 1))
    spans = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges.tolist())]
    bars = [
        Bar(low, high, count, f"{metric} {span}: {count} pairs")
        for low, high, span, count in zip(edges[:-1], edges[1:], spans, counts, strict=True)
        if count
    ]
    median = float(np.median(values)) if len(values) else None
    return Plot(
        key="histogram",
        title=f"Pairs by {metric}",
        about=f"How many pairs have which {metric}; the median is {number(median)}.",
        x=Axis(metric, 0, 1),
        y=Axis("pairs", 0, float(max(1, counts.max()) * 1.05)),
        bars=bars,
        table=Table((metric, "pairs"), [(span, str(n)) for span, n in zip(spans, counts.tolist(), strict=True)]),
    )


def scatter(pairs: pd.DataFrame, x: str, y: str, links: Mapping[PairIds, str], *, key: str, about: str) -> Plot:
    """One metric against another, a dot for each pair; those in `links` lead further in the page."""
    there: Any = pairs[pairs[x].notna() & pairs[y].notna()]
    return Plot(
        key=key,
        title=f"{y} against {x}",
        about=about,
        x=Axis(x, 0, 1),
        y=Axis(y, 0, 1),
        marks=_marks(there, x, y, links, (UNIT, UNIT)),
        lines=[Line("equal", [Point(0, 0), Point(1, 1)], "even")],
        table=_pair_table(there, (x, y)),
    )


def by_number(
    scored: ScoreFolder, pairs: pd.DataFrame, column: str, label: str, links: Mapping[PairIds, str]
) -> Plot | None:
    """The main metric against a number that each pair has, with the means of its quartiles; None if there is none."""
    metric = scored.metrics[0]
    if column not in pairs or metric not in pairs or not pd.api.types.is_numeric_dtype(pairs[column]):
        return None
    there: Any = pairs[pairs[column].notna() & pairs[metric].notna()]
    if there[column].nunique() < 3:
        return None
    x = Axis.of(label, there[column].tolist())
    edges = np.unique(np.quantile(there[column], np.linspace(0, 1, 5)))
    part = np.clip(np.searchsorted(edges, there[column], side="right") - 1, 0, len(edges) - 2)
    of_part = (part[:, None] == np.arange(len(edges) - 1)).astype(np.float64)
    values = np.repeat(there[[metric]].to_numpy(np.float64), of_part.shape[1], axis=1)
    found = clustered_means(values, of_part, there["video_id"].to_numpy(str))
    points, rows = [], []
    for n, (low, high) in enumerate(pairwise(edges.tolist())):
        if of_part[:, n].any():
            ends = found.interval(n)
            value = float(found.value[n])
            points.append(Point((low * high) ** 0.5 if x.log else (low + high) / 2, value, *(ends or (None, None))))
            rows.append((f"{low:.4g} to {high:.4g}", str(int(of_part[:, n].sum())), number(value), interval(ends)))
    return Plot(
        key=f"by-{column.replace('_', '-')}",
        title=f"{metric} by {label}",
        about="A dot for each pair; the line joins the means of quarters of the pairs, with their 95 % intervals.",
        x=x,
        y=Axis(metric, 0, 1),
        marks=_marks(there, column, metric, links, (x, UNIT)),
        lines=[Line(f"mean {metric}", points)],
        table=Table((label, "pairs", f"mean {metric}", "95 % interval"), rows),
    )


def _marks(pairs: Any, x: str, y: str, links: Mapping[PairIds, str], axes: tuple[Axis, Axis]) -> list[Mark]:
    """A dot for each pair, or if they are many, for those in one cell of a fine grid; linked ones lie on top."""
    named = list(zip(keys(pairs), pairs[x].tolist(), pairs[y].tolist(), strict=True))
    linked = [
        Mark(a, b, f"{name(key)}: {x} {a:.4g}, {y} {b:.4g}", 5, links[key]) for key, a, b in named if key in links
    ]
    others = [(key, a, b) for key, a, b in named if key not in links]
    if len(others) <= MANY:
        return [Mark(a, b, f"{name(key)}: {x} {a:.4g}, {y} {b:.4g}") for key, a, b in others] + linked
    cells = Counter((round(axes[0].place(a) * GRID), round(axes[1].place(b) * GRID)) for _, a, b in others)
    most = max(cells.values())
    return [
        Mark(
            _at(axes[0], i / GRID), _at(axes[1], j / GRID), f"{n} pairs about here", round(1 + 5 * (n / most) ** 0.5, 1)
        )
        for (i, j), n in sorted(cells.items())
    ] + linked


def _at(axis: Axis, place: float) -> float:
    """The value at a place of an axis."""
    if axis.log:
        return float(axis.low * (axis.high / axis.low) ** place)
    return axis.low + place * (axis.high - axis.low)


def _pair_table(pairs: Any, columns: Sequence[str]) -> Table:
    ranked = pairs.sort_values(columns[-1], kind="stable")
    note = ""
    if len(ranked) > 2 * LISTED:
        note = f"The {LISTED} lowest and highest of {len(ranked)} by {columns[-1]}; scores.parquet has them all."
        ranked = pd.concat([ranked.head(LISTED), ranked.tail(LISTED)])
    rows = [
        (name(key), *(number(value) for value in values))
        for key, values in zip(keys(ranked), ranked[list(columns)].itertuples(index=False, name=None), strict=True)
    ]
    return Table(("pair", *columns), rows, note)


def extremes(pairs: Any, by: str, count: int, *, highest: bool) -> list[PairIds]:
    """The pairs with the lowest (highest) values, at most two of a video as long as there are others."""
    ranked = pairs[pairs[by].notna()].sort_values(by, ascending=not highest, kind="stable")
    ranked = ranked.assign(nth=ranked.groupby("video_id").cumcount() // 2)
    return keys(ranked.sort_values("nth", kind="stable").head(count))
