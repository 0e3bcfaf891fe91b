"""The pairs that enter the means, with their attributes, and the means over all of them or over groups."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.protocols import NO_TARGET, RESERVED, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS, CollectedScores
from pipeline.evaluation.scoring.object_attributes import MASK_ATTRIBUTES, SHAPE_ATTRIBUTES
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.summary.grouping import (
    COMPUTED_ATTRIBUTES,
    Grouping,
    group_rows,
    sentence_attributes,
    value_label,
)
from pipeline.evaluation.summary.protocol_mean import strata_of
from pipeline.evaluation.summary.statistics import clustered_means
from schemas.errors import InputError
from schemas.manifest import attribute_columns
from schemas.printable import counted


@dataclass(frozen=True, slots=True)
class CountedPairs:
    """The pairs that enter the means: ids, metrics and attributes of each, with the weights [N, M] of `metrics`."""

    pairs: pd.DataFrame
    metrics: tuple[str, ...]  # of a single pair: neither J&F nor mAP
    weights: np.ndarray
    protocol: Protocol

    def means(self, rows: np.ndarray | None = None) -> dict[str, Any]:
        """Return n, videos, the mean of each metric, and `interval` with its two ends (None if unknown).

        rows: numbers of pairs; all by default.
        """
        rows = np.arange(len(self.pairs)) if rows is None else rows
        pairs, weights = self.pairs.iloc[rows], self.weights[rows]
        values = np.nan_to_num(pairs[list(self.metrics)].to_numpy(np.float64))
        names = list(self.metrics)
        if "J&F" in self.protocol.metrics:
            names.append("J&F")
            values = np.column_stack([values, (pairs["J"] + pairs["F"]) / 2])
            weights = np.column_stack([weights, np.ones(len(rows))])
        lowest = np.array([-1.0 if name.endswith("decay") else 0.0 for name in names])
        strata = strata_of(self.protocol, pairs)
        found = clustered_means(values, weights, pairs["video_id"].to_numpy(str), strata, lowest=lowest)
        value = dict(zip(names, found.value.tolist(), strict=True))
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


def known_attributes(manifest: pa.Table | None) -> list[str]:
    """Return the attributes of the manifest and the computed ones."""
    if manifest is None:
        return list(MASK_ATTRIBUTES)
    return list(dict.fromkeys([*attribute_columns(manifest.column_names), *COMPUTED_ATTRIBUTES]))


def check_groupings(groupings: Sequence[Grouping], manifest: pa.Table | None) -> None:
    """Raise InputError if a grouping names no attribute, or a manifest column has the name of a score."""
    known = ["video_id", *known_attributes(manifest)]
    reserved = sorted(set(known) & RESERVED)
    if reserved:
        raise InputError(f"manifest columns {', '.join(reserved)} have the names of score columns; rename them")
    for grouping in groupings:
        for column in grouping.columns:
            if column.name not in known:
                way_out = "give a manifest with --manifest, or choose from" if manifest is None else "choose from"
                raise InputError(f"--by {grouping.text}: no such attribute {column.name}; {way_out} {', '.join(known)}")


def count_pairs(collected: CollectedScores, scorer: Scorer, manifest: pa.Table | None) -> CountedPairs:
    """Return the pairs that enter the means, with their attributes.

    Raises InputError if a pair is not fully predicted and `scorer.missing` is error, or the protocol averages over none
    of the pairs.
    """
    table: Any = collected.pairs
    incomplete = table[table["status"].isin(NOT_PREDICTED) | (table["missing_frames"] > 0)]
    if scorer.missing == "error" and len(incomplete):
        lines = [
            " ".join(f"{name}={row[name]}" for name in SCORE_IDS[:3] if isinstance(row[name], str))
            + f": {missing_text(row)}"
            for row in incomplete.head(20).to_dict("records")
        ]
        raise InputError(
            "\n".join([*lines, f"not fully predicted: {counted(len(incomplete), 'pair')}, and --missing is error"])
        )
    scored = (table["frames"] > 0).to_numpy()
    pairs, weights, metrics = table[scored].reset_index(drop=True), collected.weights[scored], scorer.metrics
    if "N-acc" in metrics and pairs["N-acc"].isna().all():  # all expressions have a target
        kept = [n for n, name in enumerate(metrics) if name not in NO_TARGET]
        pairs, weights, metrics = pairs.drop(columns=list(NO_TARGET)), weights[:, kept], tuple(metrics[n] for n in kept)
    if not scorer.with_shapes:
        pairs = pairs.drop(columns=list(SHAPE_ATTRIBUTES))
    if "J&F" in scorer.protocol.metrics:
        pairs["J&F"] = (pairs["J"] + pairs["F"]) / 2
    if manifest is not None:
        given = {name: manifest[name].to_pandas() for name in attribute_columns(manifest.column_names)}
        if "annotator" in given and given["annotator"].isna().all():
            del given["annotator"]  # the protocol may derive it
        computed: Any = sentence_attributes(manifest.select(["video_id", "expression"]).to_pandas())
        for name, column in (given | {name: computed[name] for name in computed if name not in given}).items():
            own = pairs[name] if name == "annotator" else None  # of objects without a row in the manifest
            pairs[name] = column.reindex(pairs["row"]).array
            if own is not None:
                pairs[name] = pairs[name].where(pairs["row"] >= 0, own)
    averaged, column = np.ones(len(pairs), bool), scorer.protocol.mean_over
    if scorer.protocol.mean_of and column in pairs:
        values: Any = pd.to_numeric(pairs[column], errors="coerce")
        averaged = values.isin(scorer.protocol.mean_of).to_numpy()
        if len(pairs) and not averaged.any():
            wanted = " or ".join(map(str, scorer.protocol.mean_of))
            raise InputError(f"no pair has {column} {wanted}, and {scorer.protocol.name} averages over no others")
    return CountedPairs(pairs[averaged].reset_index(drop=True), metrics, weights[averaged], scorer.protocol)


def missing_text(row: dict[Any, Any]) -> str | None:
    """Return why a row of `CollectedScores.pairs` is not fully predicted; None if it is."""
    if isinstance(row["error"], str):
        return row["error"]
    return f"{row['missing_frames']} of its frames are not predicted" if row["missing_frames"] else None
