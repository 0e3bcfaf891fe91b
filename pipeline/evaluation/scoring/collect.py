"""Collect the results of all tasks: a row for each pair in memory, frame scores in a file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation.scoring.digest import combine
from pipeline.evaluation.scoring.object_attributes import MASK_ATTRIBUTES
from pipeline.io import checksum
from schemas.scores import FRAME_SCORES

SCORE_IDS = ("video_id", "expression_id", "object_id", "annotator")
PAIR_COLUMNS = ("row", "status", "error", "frames", "missing_frames", "extra_frames", "extra_frame")
FRAME_METRICS = ("J", "F", "IoU")


@dataclass(frozen=True, slots=True)
class CollectedScores:
    """The scores of all pairs, by video and id, independent of the order of tasks."""

    pairs: pd.DataFrame  # SCORE_IDS, PAIR_COLUMNS, metrics (NaN: none), MASK_ATTRIBUTES
    weights: np.ndarray  # float64 [N, M], of the metrics
    samples: list[tuple[int, list[dict]]]  # for mAP: true area and candidates of every frame
    truth_hash: str  # of what was scored, see `digest`
    predictions_hash: str


def collect(results: Iterable[pa.Table], metrics: Sequence[str], frame_scores: str) -> CollectedScores:
    """Read tables of RESULT one by one; write frame scores to a Parquet file at the local path `frame_scores`.

    Frame scores keep the order of the results, which `plan_scoring` makes that of `schemas.scores.FRAME_SCORES`.
    """
    tables, values, weights = [], [], []
    digests: dict[str, list[bytes]] = {"truth_digest": [], "prediction_digest": []}
    samples: dict[tuple[str, str, int], list[tuple[int, list[dict]]]] = {}
    with pq.ParquetWriter(frame_scores, FRAME_SCORES, compression="zstd") as writer:
        for table in results:
            pairs = table.select([*SCORE_IDS, *PAIR_COLUMNS]).to_pandas()
            pairs[list(MASK_ATTRIBUTES)] = _matrix(table["mask_attributes"], len(MASK_ATTRIBUTES), np.nan)
            tables.append(pairs)
            values.append(_matrix(table["values"], len(metrics), np.nan))
            weights.append(_matrix(table["weights"], len(metrics), 0.0))
            for name, found in digests.items():
                found += table[name].drop_null().to_pylist()
            frames = frame_score_rows(table)
            if len(frames):
                writer.write_table(frames)
            samples |= _samples(table)
    checksum.seal(frame_scores)
    pairs = pd.concat(tables, ignore_index=True)
    value, weight = np.concatenate(values), np.concatenate(weights)
    value[weight == 0] = np.nan
    pairs[list(metrics)] = value
    by_id = pairs["expression_id"].where(pairs["expression_id"].notna(), pairs["object_id"])
    order = pairs.assign(by=by_id).sort_values(by=["video_id", "by", "row"]).index
    return CollectedScores(
        pairs=pairs.loc[order].reset_index(drop=True),
        weights=weight[order.to_numpy()],
        samples=[sample for key in sorted(samples) for sample in samples[key]],
        truth_hash=combine(digests["truth_digest"]),
        predictions_hash=combine(digests["prediction_digest"]),
    )


def frame_score_rows(table: pa.Table) -> pa.Table:
    """Convert a table of RESULT to FRAME_SCORES: one row for each frame and metric."""
    frames = table["frame_index"].combine_chunks()
    lengths = frames.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    values = {name: table[name].combine_chunks().flatten().to_numpy() for name in FRAME_METRICS}
    values = {name: of_metric for name, of_metric in values.items() if len(of_metric)}
    rows = pa.array(np.repeat(np.arange(len(table)), lengths * len(values)))
    columns = {name: table[name].take(rows) for name in SCORE_IDS}
    columns["frame_index"] = pa.array(np.repeat(frames.flatten().to_numpy(), max(1, len(values)))[: len(rows)])
    columns["metric"] = pa.array([*values] * int(lengths.sum()), pa.string())
    columns["value"] = pa.array(np.stack([*values.values()], axis=1).ravel() if values else np.empty(0))
    return pa.table(columns, schema=FRAME_SCORES)


def _matrix(column: pa.ChunkedArray, width: int, empty: float) -> np.ndarray:
    """Convert a column of lists of one length to float64 [N, width]; null lists become `empty`."""
    lists = column.combine_chunks()
    matrix = np.full((len(lists), width), empty)
    valid = lists.is_valid().to_numpy(zero_copy_only=False)
    matrix[valid] = lists.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return matrix


def _samples(table: pa.Table) -> dict[tuple[str, str, int], list[tuple[int, list[dict]]]]:
    """Return true area and candidates of every frame, by pair."""
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
