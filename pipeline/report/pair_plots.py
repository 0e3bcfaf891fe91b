"""Plots with a dot or a count for each pair."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.protocol_mean import strata_of
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import clustered_means
from pipeline.report.page import interval, number, truncate
from pipeline.report.plots import UNIT, Bar, Line, Mark, Plot, PlotAxis, Point, Table
from schemas.printable import counted

MOST_DOTS = 1500  # with more pairs, one dot stands for all in a cell of a grid
GRID_CELLS = 50  # of each axis
LISTED_PAIRS = 50  # at each end of a long table
BINS = 20

PairIds = tuple[str, ...]  # ids of a pair, in the order of SCORE_IDS


def pair_ids(pairs: Any) -> list[PairIds]:
    """Return the ids of each pair."""
    return list(pairs[list(SCORE_IDS)].itertuples(index=False, name=None))


def pair_label(ids: PairIds) -> str:
    """Name a pair in few letters: video, then expression or else object."""
    video, expression, object_id, _ = ids
    return f"{truncate(video, 60)} · {truncate(expression or object_id, 60)}"


def histogram(pairs: pd.DataFrame, metric: str) -> Plot:
    """Count the pairs by score."""
    values = pairs[metric].dropna().to_numpy()
    counts, edges = np.histogram(np.clip(values, 0, 1), BINS, (0, 1))
    spans = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges.tolist())]
    bars = [
        Bar(low, high, count, f"{metric} {span}: {counted(count, 'pair')}")
        for low, high, span, count in zip(edges[:-1], edges[1:], spans, counts, strict=True)
        if count
    ]
    median = float(np.median(values)) if len(values) else None
    return Plot(
        key="histogram",
        title=f"Pairs by {metric}",
        about=f"Number of pairs by {metric}. The median is {number(median)}.",
        x=PlotAxis(metric, 0, 1),
        y=PlotAxis("pairs", 0, float(max(1, counts.max()) * 1.05)),
        bars=bars,
        table=Table((metric, "pairs"), [(span, str(n)) for span, n in zip(spans, counts.tolist(), strict=True)]),
    )


def scatter(pairs: pd.DataFrame, x: str, y: str, links: Mapping[PairIds, str], *, key: str, about: str) -> Plot:
    """Plot one metric against another, one dot for each pair; dots in `links` lead to the frames of their pair."""
    known: Any = pairs[pairs[x].notna() & pairs[y].notna()]
    ranked = known.sort_values(y, kind="stable")
    note = ""
    if len(ranked) > 2 * LISTED_PAIRS:
        note = f"The {LISTED_PAIRS} lowest and highest of {len(ranked)} by {y}; scores.parquet has them all."
        ranked = pd.concat([ranked.head(LISTED_PAIRS), ranked.tail(LISTED_PAIRS)])
    rows = [
        (pair_label(ids), number(a), number(b))
        for ids, a, b in zip(pair_ids(ranked), ranked[x].tolist(), ranked[y].tolist(), strict=True)
    ]
    return Plot(
        key=key,
        title=f"{y} against {x}",
        about=about,
        x=PlotAxis(x, 0, 1),
        y=PlotAxis(y, 0, 1),
        marks=_marks(known, x, y, links, (UNIT, UNIT)),
        lines=[Line("equal", [Point(0, 0), Point(1, 1)], "even")],
        table=Table(("pair", x, y), rows, note),
    )


def by_number(
    scored: ScoreFolder, pairs: pd.DataFrame, column: str, label: str, links: Mapping[PairIds, str]
) -> Plot | None:
    """Plot the main metric against a number of each pair, with means of its quartiles.

    None if pairs do not have the number, or fewer than three different values, and for protocols that average over
    frames, whose means need their weights.
    """
    metric = scored.metrics[0]
    if column not in pairs or metric not in pairs or not pd.api.types.is_numeric_dtype(pairs[column]):
        return None
    if scored.protocol.per_frame:
        return None
    known: Any = pairs[pairs[column].notna() & pairs[metric].notna()]
    if known[column].nunique() < 3:
        return None
    axis = PlotAxis.of(label, known[column].tolist())
    edges = np.unique(np.quantile(known[column], np.linspace(0, 1, 5)))
    quartile = np.clip(np.searchsorted(edges, known[column], side="right") - 1, 0, len(edges) - 2)
    member = (quartile[:, None] == np.arange(len(edges) - 1)).astype(np.float64)
    values = np.repeat(known[[metric]].to_numpy(np.float64), member.shape[1], axis=1)
    means = clustered_means(values, member, known["video_id"].to_numpy(str), strata_of(scored.protocol, known))
    points, rows = [], []
    for n, (low, high) in enumerate(pairwise(edges.tolist())):
        if member[:, n].any():
            value, ends = float(means.value[n]), means.interval(n)
            middle = (low * high) ** 0.5 if axis.log else (low + high) / 2
            points.append(Point(middle, value, *(ends or (None, None))))
            rows.append((f"{low:.4g} to {high:.4g}", str(int(member[:, n].sum())), number(value), interval(ends)))
    return Plot(
        key=f"by-{column.replace('_', '-')}",
        title=f"{metric} by {label}",
        about="One dot for each pair. The line joins the means of quartiles, with 95 % intervals.",
        x=axis,
        y=PlotAxis(metric, 0, 1),
        marks=_marks(known, column, metric, links, (axis, UNIT)),
        lines=[Line(f"mean {metric}", points)],
        table=Table((label, "pairs", f"mean {metric}", "95 % interval"), rows),
    )


def extremes(pairs: Any, metric: str, count: int, *, highest: bool) -> list[PairIds]:
    """Return the pairs with the lowest (highest) values, at most two of a video as long as there are others."""
    ranked = pairs[pairs[metric].notna()].sort_values(metric, ascending=not highest, kind="stable")
    return spread_over_videos(pair_ids(ranked))[:count]


def spread_over_videos(ranked: Sequence[PairIds]) -> list[PairIds]:
    """Move further pairs of a video behind two pairs of each other one; else keep the order."""
    before: Counter[str] = Counter()
    turn = {}
    for ids in ranked:
        turn[ids] = before[ids[0]] // 2
        before[ids[0]] += 1
    return sorted(ranked, key=turn.__getitem__)


def _marks(pairs: Any, x: str, y: str, links: Mapping[PairIds, str], axes: tuple[PlotAxis, PlotAxis]) -> list[Mark]:
    """One dot for each pair or, if there are many, for each cell of a fine grid; linked dots are on top."""
    linked, others = [], []
    for ids, a, b in zip(pair_ids(pairs), pairs[x].tolist(), pairs[y].tolist(), strict=True):
        text = f"{pair_label(ids)}: {x} {a:.4g}, {y} {b:.4g}"
        (linked if ids in links else others).append(Mark(a, b, text, 5 if ids in links else 3.5, links.get(ids)))
    if len(others) <= MOST_DOTS:
        return others + linked
    across, up = axes
    cells = Counter((round(across.place(m.x) * GRID_CELLS), round(up.place(m.y) * GRID_CELLS)) for m in others)
    most = max(cells.values())
    grouped = [
        Mark(
            across.value_at(i / GRID_CELLS),
            up.value_at(j / GRID_CELLS),
            f"{counted(count, 'pair')} near here",
            round(1 + 5 * (count / most) ** 0.5, 1),
        )
        for (i, j), count in sorted(cells.items())
    ]
    return grouped + linked
