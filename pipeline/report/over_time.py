"""Scores in the course of a video."""

from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import Means, clustered_means
from pipeline.report.page import interval, number
from pipeline.report.plots import Axis, Line, Plot, Point, Table

MOMENTS = 10  # parts of a pair's length
SHORT = 5  # frames; pairs below have no course over time


def tracks(scored: ScoreFolder) -> pd.DataFrame:
    """For each pair: frames, first and last frame_index, indexed by ids. One row group is held at a time."""
    nothing = pd.MultiIndex.from_arrays([[]] * len(SCORE_IDS), names=list(SCORE_IDS))
    parts = [pd.DataFrame({"count": [], "min": [], "max": []}, nothing, dtype=np.int64)]
    for table in scored.frame_scores():
        rows: Any = table.to_pandas().fillna(dict.fromkeys(SCORE_IDS, ""))
        if len(rows):
            rows = rows[rows["metric"] == rows["metric"].iloc[0]]
            parts.append(rows.groupby(list(SCORE_IDS))["frame_index"].agg(["count", "min", "max"]))
    found = pd.concat(parts).groupby(level=list(SCORE_IDS)).agg({"count": "sum", "min": "min", "max": "max"})
    return found.set_axis(["frames", "first", "last"], axis=1)


def over_time(scored: ScoreFolder, known: pd.DataFrame) -> Plot | None:
    """J and F in ten parts of each pair's length, from its first to its last frame; None where pairs are too short."""
    long: Any = known[known["frames"] >= SHORT]
    metrics = [metric for metric in ("J", "F") if metric in scored.metrics]
    if not len(long) or not metrics:
        return None
    sums = _sums(scored, long, metrics)
    videos = long.index.get_level_values("video_id").to_numpy(str)
    found = [
        clustered_means(total / np.maximum(count, 1), (count > 0).astype(np.float64), videos) for total, count in sums
    ]
    return Plot(
        key="over-time",
        title=f"{' and '.join(metrics)} over time",
        about=f"Means over {len(long)} pairs in tenths of each pair's length, with 95 % intervals.",
        x=Axis("position between the first and the last frame (%)", 0, 100),
        y=Axis("mean", 0, 1),
        lines=[Line(metric, _points(means), style) for metric, means, style in zip(metrics, found, "ab", strict=False)],
        legend=True,
        table=Table(
            ("part", *(text for metric in metrics for text in (metric, "95 % interval"))),
            [(f"{10 * n} to {10 * n + 10} %", *_cells(found, n)) for n in range(MOMENTS)],
        ),
    )


def _sums(scored: ScoreFolder, long: pd.DataFrame, metrics: list[str]) -> np.ndarray:
    """float64 [metrics, 2, pairs, MOMENTS]: sums of values, and of how many."""
    number_of = pd.Series(np.arange(len(long)), index=long.index, name="row")
    first, length = long["first"].to_numpy(), (long["last"] - long["first"]).to_numpy() + 1
    sums = np.zeros((len(metrics), 2, len(long), MOMENTS))
    for table in scored.frame_scores():
        rows: Any = (
            table.to_pandas().fillna(dict.fromkeys(SCORE_IDS, "")).join(number_of, on=list(SCORE_IDS), how="inner")
        )
        row = rows["row"].to_numpy()
        moment = (rows["frame_index"].to_numpy() - first[row]) * MOMENTS // length[row]
        for n, metric in enumerate(metrics):
            of = (rows["metric"] == metric).to_numpy()
            np.add.at(sums[n, 0], (row[of], moment[of]), rows["value"].to_numpy()[of])
            np.add.at(sums[n, 1], (row[of], moment[of]), 1)
    return sums


def _points(means: Means) -> list[Point]:
    found = []
    for n in range(MOMENTS):
        value, ends = float(means.value[n]), means.interval(n)
        if value == value:
            found.append(Point((n + 0.5) / MOMENTS * 100, value, *(ends or (None, None))))
    return found


def _cells(found: list[Means], n: int) -> list[str]:
    return [text for means in found for text in (number(float(means.value[n])), interval(means.interval(n)))]
