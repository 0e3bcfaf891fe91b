"""Means with intervals over all pairs and over groups of them, and the long table of scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.protocols import Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.grouping import Grouping, group_rows, spell_out, value_label
from pipeline.evaluation.summary.statistics import clustered_means
from schemas.scores import SCORES

FEW_VIDEOS = 10
UNEVEN = 10  # ratio of group sizes


@dataclass(frozen=True, slots=True)
class CountedPairs:
    """The pairs that enter the means: ids, metrics and attributes of each, with the weights [N, M] of `metrics`."""

    pairs: pd.DataFrame
    metrics: tuple[str, ...]  # of a single pair: neither J&F nor mAP
    weights: np.ndarray
    protocol: Protocol

    @property
    def strata(self) -> np.ndarray | None:
        """The column values that the protocol averages within; None if the pairs do not have the column."""
        name = self.protocol.mean_over
        if name is None or name not in self.pairs.columns:
            return None
        return self.pairs[name].astype(str).to_numpy()

    def means(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return n, videos, the mean of each metric, and `interval` with its two ends (None if unknown).

        rows: numbers of pairs; all by default.
        """
        rows = np.arange(len(self.pairs)) if rows is None else rows
        pairs, weights = self.pairs.iloc[rows], self.weights[rows]
        values = np.nan_to_num(pairs[list(self.metrics)].to_numpy(np.float64))
        names = list(self.metrics)
        if "J&F" in self.protocol.metrics:  # (mean J + mean F) / 2 is the mean of (J + F) / 2
            names.append("J&F")
            values = np.column_stack([values, (pairs["J"] + pairs["F"]) / 2])
            weights = np.column_stack([weights, np.ones(len(rows))])
        strata = self.strata
        found = clustered_means(
            values, weights, pairs["video_id"].to_numpy(str), None if strata is None else strata[rows]
        )
        value = dict(zip(names, found.value.tolist(), strict=True))
        if "J&F" in value:
            value["J&F"] = (value["J"] + value["F"]) / 2
        ends = dict(zip(names, zip(found.low.tolist(), found.high.tolist(), strict=True), strict=True))
        shown = [name for name in self.protocol.metrics if not np.isnan(value.get(name, np.nan))]
        return {
            "n": len(rows),
            "videos": found.videos,
            **{name: value[name] for name in shown},
            "interval": {name: None if np.isnan(ends[name][0]) else list(ends[name]) for name in shown},
        }

    def by(self, grouping: Grouping) -> list[dict[str, Any]]:
        """Return one row for each value, sorted: `value` and the content of `means`.

        Where a column holds lists, a pair counts once under each of its values, so that rows overlap.
        """
        groups = group_rows(grouping.values(self.pairs))
        return [{"value": value_label(value), **self.means(np.array(rows))} for value, rows in groups.items()]


def warnings(name: str, groups: Sequence[dict]) -> list[str]:
    """Return notes about a breakdown that is easily misread."""
    found = []
    sizes = [group["n"] for group in groups]
    if len(groups) > 1 and max(sizes) >= UNEVEN * min(sizes):
        found.append(f"by {name}: group sizes differ widely, {min(sizes)} to {max(sizes)} pairs; see the intervals")
    few = [spell_out(group["value"]) for group in groups if group["videos"] < FEW_VIDEOS]
    if few:
        more = " ..." if len(few) > 3 else ""
        found.append(f"by {name}: fewer than {FEW_VIDEOS} videos, rough intervals: {', '.join(few[:3])}{more}")
    return found


def score_rows(pairs: pd.DataFrame, metrics: Sequence[str], attributes: Sequence[str]) -> pa.Table:
    """Return SCORES followed by the attribute columns: one row for each pair and metric that it has."""
    names = [*SCORE_IDS, *(name for name in attributes if name not in SCORE_IDS)]
    parts = [pairs[names].assign(metric=metric, value=pairs[metric]) for metric in metrics]
    long = pd.concat(parts).sort_index(kind="stable")
    long = long[long["value"].notna()]
    declared = pa.Table.from_pandas(long[SCORES.names], SCORES, preserve_index=False)
    for name in names[len(SCORE_IDS) :]:
        declared = declared.append_column(name, pa.array(long[name], from_pandas=True))
    return declared
