"""Scores over the length of a video."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.protocol_mean import strata_of
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import clustered_means
from pipeline.report.page import interval, number
from pipeline.report.plots import Line, Plot, PlotAxis, Point, Table

PARTS = 10  # of the length of a pair
MIN_FRAMES = 5  # shorter pairs are left out


def frame_spans(scored: ScoreFolder) -> pd.DataFrame:
    """Return frames, first and last frame_index of each pair, indexed by ids. One row group is held at a time."""
    nothing = pd.MultiIndex.from_arrays([[]] * len(SCORE_IDS), names=list(SCORE_IDS))
    parts = [pd.DataFrame({"count": [], "min": [], "max": []}, nothing, dtype=np.int64)]
    for table in scored.frame_scores():
        rows: Any = table.to_pandas().fillna(dict.fromkeys(SCORE_IDS, ""))
        if len(rows):
            rows = rows[rows["metric"] == rows["metric"].iloc[0]]
            parts.append(rows.groupby(list(SCORE_IDS))["frame_index"].agg(["count", "min", "max"]))
    spans = pd.concat(parts).groupby(level=list(SCORE_IDS)).agg({"count": "sum", "min": "min", "max": "max"})
    return spans.set_axis(["frames", "first", "last"], axis=1)


def over_time(scored: ScoreFolder, pairs: pd.DataFrame, spans: pd.DataFrame) -> Plot | None:
    """Plot J and F in ten parts of each pair, from its first to its last frame; None if all pairs are too short.

    The mean is that of the protocol: over `pairs`, which it averages, within what it averages within.
    """
    long_pairs: Any = pairs[pairs["frames"] >= MIN_FRAMES]
    long = long_pairs.set_index(list(SCORE_IDS))[[]].join(spans)
    metrics = [metric for metric in ("J", "F") if metric in scored.metrics]
    if not len(long) or not metrics:
        return None
    videos = long.index.get_level_values("video_id").to_numpy(str)
    strata = strata_of(scored.protocol, long_pairs)
    lines: list[Line] = []
    columns: list[str] = []
    cells: list[list[str]] = [[f"{10 * n} to {10 * n + 10} %"] for n in range(PARTS)]
    for metric, style, (total, count) in zip(metrics, "ab", _sums(scored, long, metrics), strict=False):
        means = clustered_means(total / np.maximum(count, 1), (count > 0).astype(np.float64), videos, strata)
        points = []
        for n in range(PARTS):
            value, ends = float(means.value[n]), means.interval(n)
            cells[n] += number(value), interval(ends)
            if value == value:
                points.append(Point((n + 0.5) / PARTS * 100, value, *(ends or (None, None))))
        lines.append(Line(metric, points, style))
        columns += metric, "95 % interval"
    return Plot(
        key="over-time",
        title=f"{' and '.join(metrics)} over time",
        about=f"Means by {scored.protocol.name} over {len(long)} pairs in tenths of their length, with 95 % intervals.",
        x=PlotAxis("position between the first and the last frame (%)", 0, 100),
        y=PlotAxis("mean", 0, 1),
        lines=lines,
        legend=True,
        table=Table(("part", *columns), cells),
    )


def _sums(scored: ScoreFolder, long: pd.DataFrame, metrics: list[str]) -> np.ndarray:
    """float64 [metrics, 2, pairs, PARTS]: sums of values, and numbers of values."""
    number_of = pd.Series(np.arange(len(long)), index=long.index, name="row")
    first, length = long["first"].to_numpy(), (long["last"] - long["first"]).to_numpy() + 1
    sums = np.zeros((len(metrics), 2, len(long), PARTS))
    for table in scored.frame_scores():
        rows: Any = table.to_pandas().fillna(dict.fromkeys(SCORE_IDS, ""))
        rows = rows.join(number_of, on=list(SCORE_IDS), how="inner")
        row = rows["row"].to_numpy()
        part = (rows["frame_index"].to_numpy() - first[row]) * PARTS // length[row]
        for n, metric in enumerate(metrics):
            selected = (rows["metric"] == metric).to_numpy()
            np.add.at(sums[n, 0], (row[selected], part[selected]), rows["value"].to_numpy()[selected])
            np.add.at(sums[n, 1], (row[selected], part[selected]), 1)
    return sums
