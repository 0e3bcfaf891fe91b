"""Tables of scores: one row per pair, means per attribute, and the long forms that are stored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.gather import PairResult
from schemas.scores import FRAME_SCORES, SCORES

METRICS = ("J&F", "J", "F")
IDS = ("video_id", "expression_id", "object_id", "annotator")
NO_VALUE = "(none)"  # how a missing attribute is shown


def pair_table(results: Sequence[PairResult], attributes: pd.DataFrame) -> pd.DataFrame:
    """One row per pair: ids, status, frames that count, J&F, J, F, then the `attributes` of its manifest row."""
    means = [result.means for result in results]
    table = pd.DataFrame(
        {
            "video_id": [result.pair.video_id for result in results],
            "expression_id": [result.pair.expression_id for result in results],
            "object_id": [result.pair.object_id for result in results],
            "annotator": None,
            "status": [result.status for result in results],
            "frames": [0 if result.score is None else len(result.score.j) for result in results],
            "J&F": [(j + f) / 2 for j, f in means],
            "J": [j for j, _ in means],
            "F": [f for _, f in means],
        }
    )
    rows = [result.row for result in results]
    for name in attributes.columns:
        table[name] = attributes[name].iloc[rows].array
    return table


def overall(pairs: pd.DataFrame) -> dict[str, Any]:
    """n, J&F, J and F over rows of pairs; J&F is the mean of mean J and mean F."""
    j, f = (float(np.mean(pairs[metric].to_numpy())) for metric in ("J", "F"))
    return {"n": len(pairs), "J&F": (j + f) / 2, "J": j, "F": f}


def by_attribute(pairs: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """One row per value of a column of `pairs`, by value: `value, n, J&F, J, F`.

    Where the column holds lists, a pair counts under each of its values (once), so that rows overlap.
    """
    values = pairs[attribute].map(_values)
    exploded = pairs[["J", "F"]].assign(value=values).explode("value")
    rows = [{"value": value, **overall(group)} for value, group in exploded.groupby("value", dropna=False, sort=False)]
    table = pd.DataFrame(rows, columns=["value", "n", *METRICS])
    return table.sort_values("value", key=lambda column: column.map(_order), ignore_index=True)


def _values(value: object) -> list:
    """The values under which one cell counts."""
    if isinstance(value, list | tuple | np.ndarray):
        return sorted({_plain(item) for item in value}, key=_order) or [NO_VALUE]
    return [_plain(value)]


def _plain(value: object) -> object:
    """A cell as Python and JSON know it; missing ones as NO_VALUE."""
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value is pd.NaT or (isinstance(value, float) and np.isnan(value)):
        return NO_VALUE
    return value if isinstance(value, str | int | float | bool) else str(value)


def _order(value: object) -> tuple:
    """Numbers by size, then texts by alphabet, then what is missing."""
    if isinstance(value, str):
        return (2 if value == NO_VALUE else 1, 0.0, value)
    return (0, float(value), "")  # pyright: ignore[reportArgumentType]


def score_rows(pairs: pd.DataFrame, attributes: Sequence[str]) -> pa.Table:
    """SCORES, with the attribute columns after it: one row for each pair and metric."""
    names = [*IDS, *(name for name in attributes if name not in IDS)]
    parts = [pairs[names].assign(metric=metric, value=pairs[metric]) for metric in METRICS]
    long = pd.concat(parts).sort_index(kind="stable")
    declared = pa.Table.from_pandas(long[SCORES.names], SCORES, preserve_index=False)
    for name in names[len(IDS) :]:
        declared = declared.append_column(name, pa.array(long[name], from_pandas=True))
    return declared


def frame_rows(pairs: pd.DataFrame, results: Sequence[PairResult]) -> pa.Table:
    """FRAME_SCORES: one row for each metric (J, F) and frame of `results`, which goes with the rows of `pairs`."""
    scores = [result.score for result in results if result.score is not None]
    lengths = [0 if result.score is None else 2 * len(result.score.j) for result in results]
    rows = pa.array(np.repeat(np.arange(len(results)), lengths))
    columns = {name: pa.array(pairs[name], pa.string(), from_pandas=True).take(rows) for name in IDS}
    columns["frame_index"] = _concatenate([np.repeat(score.frame_indices, 2) for score in scores], np.int32)
    columns["metric"] = pa.array(["J", "F"] * (len(rows) // 2), pa.string())
    columns["value"] = _concatenate([np.stack([score.j, score.f], axis=1).ravel() for score in scores], np.float64)
    return pa.table(columns, schema=FRAME_SCORES)


def _concatenate(parts: list[np.ndarray], dtype: type) -> pa.Array:
    return pa.array(np.concatenate(parts) if parts else np.empty(0, dtype))
