"""Put the results of all tasks together: a row of numbers for each pair, and frame scores passed on to a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation.scoring.digest import combine
from pipeline.evaluation.scoring.object_attributes import VISUAL
from schemas.scores import FRAME_SCORES

SCORE_IDS = ("video_id", "expression_id", "object_id", "annotator")
FRAME_METRICS = ("J", "F", "IoU")


@dataclass(frozen=True, slots=True)
class CollectedScores:
    """What is known of all pairs, by video and id, whatever the order of tasks.

    pairs: ids, `row` of the manifest, status, error, frames, missing_frames, then the metrics (NaN: none), then VISUAL.
    weights: float64 [N, M] of the metrics. samples: for mAP, true area and candidates of every frame. truth_hash and
    predictions_hash: of what was scored against what, see `digest`.
    """

    pairs: pd.DataFrame
    weights: np.ndarray
    samples: list[tuple[int, list[dict]]]
    truth_hash: str
    predictions_hash: str


def collect(results: Iterable[pa.Table], metrics: Sequence[str], frame_scores: str) -> CollectedScores:
    """Read tables of RESULT one by one; frame scores go to the Parquet file at the local path `frame_scores`."""
    tables, values, weights = [], [], []
    truth_digests, prediction_digests = [], []
    samples: dict[tuple[str, str, int], list[tuple[int, list[dict]]]] = {}
    with pq.ParquetWriter(frame_scores, FRAME_SCORES, compression="zstd") as writer:
        for table in results:
            tables.append(_identities(table))
            truth_digests += table["truth_digest"].drop_null().to_pylist()
            prediction_digests += table["prediction_digest"].drop_null().to_pylist()
            values.append(_matrix(table["values"], len(metrics), np.nan))
            weights.append(_matrix(table["weights"], len(metrics), 0.0))
            frames = frame_score_rows(table)
            if len(frames):
                writer.write_table(frames)
            samples |= _samples(table)
    pairs = pd.concat(tables, ignore_index=True)
    value, weight = np.concatenate(values), np.concatenate(weights)
    value[weight == 0] = np.nan
    pairs[list(metrics)] = value
    by_id = pairs["expression_id"].where(pairs["expression_id"].notna(), pairs["object_id"])
    order = pairs.assign(by=by_id).sort_values(by=["video_id", "by", "row"]).index
    in_order = [sample for key in sorted(samples) for sample in samples[key]]
    return CollectedScores(
        pairs=pairs.loc[order].reset_index(drop=True),
        weights=weight[order.to_numpy()],
        samples=in_order,
        truth_hash=combine(truth_digests),
        predictions_hash=combine(prediction_digests),
    )


def frame_score_rows(table: pa.Table) -> pa.Table:
    """FRAME_SCORES of one table of RESULT: one row for each metric and frame."""
    frames = table["frame_index"].combine_chunks()
    lengths = frames.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    names = [name for name in FRAME_METRICS if len(table[name].combine_chunks().flatten())]
    rows = pa.array(np.repeat(np.arange(len(table)), lengths * len(names)))
    columns = {name: table[name].take(rows) for name in SCORE_IDS}
    columns["frame_index"] = pa.array(np.repeat(frames.flatten().to_numpy(), max(1, len(names)))[: len(rows)])
    columns["metric"] = pa.array(names * int(lengths.sum()), pa.string())
    measured = [table[name].combine_chunks().flatten().to_numpy() for name in names]
    columns["value"] = pa.array(np.stack(measured, axis=1).ravel() if names else np.empty(0))
    return pa.table(columns, schema=FRAME_SCORES)


def _identities(table: pa.Table) -> pd.DataFrame:
    names = [*SCORE_IDS, "row", "status", "error", "frames", "missing_frames"]
    pairs = table.select(names).to_pandas()
    pairs[list(VISUAL)] = _matrix(table["visual"], len(VISUAL), np.nan)
    return pairs


def _matrix(column: pa.ChunkedArray, width: int, empty: float) -> np.ndarray:
    """float64 [N, width] of a column of lists of that length; `empty` where a list is null."""
    lists = column.combine_chunks()
    matrix = np.full((len(lists), width), empty)
    there = lists.is_valid().to_numpy(zero_copy_only=False)
    matrix[there] = lists.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return matrix


def _samples(table: pa.Table) -> dict[tuple[str, str, int], list[tuple[int, list[dict]]]]:
    """True area and candidates of every frame, by pair."""
    found = {}
    names = ["video_id", "expression_id", "object_id", "row", "frame_index", "truth_areas", "candidates"]
    for row in table.filter(table["truth_areas"].is_valid()).select(names).to_pylist():
        frames = {index: (area, []) for index, area in zip(row["frame_index"], row["truth_areas"], strict=True)}
        for candidate in row["candidates"]:
            if candidate["frame"] in frames:
                frames[candidate["frame"]][1].append(candidate)
        key = row["video_id"], row["expression_id"] or row["object_id"] or "", row["row"]
        found[key] = list(frames.values())
    return found
