"""Choose the pairs that enter the means, give them their attributes, and summarise their scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.metrics.average_precision import average_precision
from pipeline.evaluation.protocols import NO_TARGET, RESERVED, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS, CollectedScores
from pipeline.evaluation.scoring.object_attributes import DESCRIBED, VISUAL
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.summary.grouping import COMPUTED, Grouping, textual_attributes
from pipeline.evaluation.summary.means import CountedPairs, warnings
from pipeline.masks.pairs_to_score import MaskKey
from schemas.errors import InputError
from schemas.manifest import attribute_columns

PAIR_STATUSES = ("scored", "failed", "missing", "misshaped", "unannotated")
NOT_SCORED = ("failed", "missing", "misshaped")
LISTED_PAIRS = 1000  # of each kind, in summary.json


def known_attributes(manifest: pa.Table | None) -> list[str]:
    """Return the attributes of the manifest and the computed ones."""
    if manifest is None:
        return list(VISUAL)
    return list(dict.fromkeys([*attribute_columns(manifest.column_names), *COMPUTED]))


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
    incomplete = table[table["status"].isin(NOT_SCORED) | (table["missing_frames"] > 0)]
    if scorer.missing == "error" and len(incomplete):
        lines = [
            " ".join(f"{name}={row[name]}" for name in SCORE_IDS[:3] if isinstance(row[name], str))
            + f": {_missing_text(row)}"
            for row in incomplete.head(20).to_dict("records")
        ]
        raise InputError(
            "\n".join([*lines, f"{len(incomplete)} pairs are not fully predicted, and --missing is error"])
        )
    scored = (table["frames"] > 0).to_numpy()
    pairs, weights, metrics = table[scored].reset_index(drop=True), collected.weights[scored], scorer.metrics
    if "N-acc" in metrics and pairs["N-acc"].isna().all():  # all expressions have a target
        kept = [n for n, name in enumerate(metrics) if name not in NO_TARGET]
        pairs, weights, metrics = pairs.drop(columns=list(NO_TARGET)), weights[:, kept], tuple(metrics[n] for n in kept)
    if not scorer.visual:
        pairs = pairs.drop(columns=list(DESCRIBED))
    if "J&F" in scorer.protocol.metrics:
        pairs["J&F"] = (pairs["J"] + pairs["F"]) / 2
    if manifest is not None:
        given = {name: manifest[name].to_pandas() for name in attribute_columns(manifest.column_names)}
        if "annotator" in given and given["annotator"].isna().all():
            del given["annotator"]  # the protocol may derive it
        computed: Any = textual_attributes(manifest.select(["video_id", "expression"]).to_pandas())
        for name, column in (given | {name: computed[name] for name in computed if name not in given}).items():
            pairs[name] = column.iloc[pairs["row"]].array
    averaged = _averaged(pairs, scorer.protocol)
    return CountedPairs(pairs[averaged].reset_index(drop=True), metrics, weights[averaged], scorer.protocol)


def _averaged(pairs: pd.DataFrame, protocol: Protocol) -> np.ndarray:
    """Return which pairs the protocol averages over, bool [N]. Raises InputError if it is none of them."""
    column = protocol.mean_over
    if not protocol.mean_of or column not in pairs:
        return np.ones(len(pairs), bool)
    values: Any = pd.to_numeric(pairs[column], errors="coerce")
    averaged = values.isin(protocol.mean_of).to_numpy()
    if len(pairs) and not averaged.any():
        wanted = " or ".join(map(str, protocol.mean_of))
        raise InputError(f"no pair has {column} {wanted}, and {protocol.name} averages over no others")
    return averaged


def summarise(
    counted: CountedPairs,
    collected: CollectedScores,
    scorer: Scorer,
    groupings: Sequence[Grouping],
    extra: Sequence[MaskKey],
) -> dict:
    """Return the part of summary.json about scores and pairs. `extra`: pairs that are predicted but not requested."""
    protocol = scorer.protocol
    table: Any = collected.pairs
    by_status: dict[str, Any] = {status: table[table["status"] == status] for status in PAIR_STATUSES}
    listed = {f"{status}_pairs": by_status[status] for status in PAIR_STATUSES[1:]}
    listed["incomplete_pairs"] = table[(table["status"] == "scored") & (table["missing_frames"] > 0)]
    overall = counted.means()
    if "mAP" in protocol.metrics:
        overall |= average_precision(collected.samples)
    by = {grouping.text: counted.by(grouping) for grouping in groupings}
    notes = [text for name, rows in by.items() for text in warnings(name, rows)]
    if protocol.mean_over and counted.strata is None:
        notes.append(f"no column {protocol.mean_over}: all pairs weigh the same in the mean")
    excluded = int((table["frames"] > 0).sum()) - len(counted.pairs)
    if protocol.mean_of and excluded:
        notes.append(f"{excluded} pairs are excluded by their {protocol.mean_over}; all-frames includes them")
    return {
        "truth_hash": collected.truth_hash,
        "predictions_hash": collected.predictions_hash,
        "void_pixels": protocol.void and scorer.truth.void is not None,
        "pairs": {status: len(rows) for status, rows in by_status.items()} | {"extra": len(extra)},
        "frames": {"scored": int(table["frames"].sum()), "missing": int(table["missing_frames"].sum())},
        "overall": overall,
        "by": by,
        "warnings": notes,
        **{name: [_listed(row) for row in rows.head(LISTED_PAIRS).to_dict("records")] for name, rows in listed.items()},
        "extra_pairs": [{"video_id": video, "expression_id": thing} for video, thing in extra[:LISTED_PAIRS]],
    }


def _listed(row: dict[Any, Any]) -> dict:
    return {name: row[name] for name in SCORE_IDS if isinstance(row[name], str)} | {"error": _missing_text(row)}


def _missing_text(row: dict[Any, Any]) -> str | None:
    if isinstance(row["error"], str):
        return row["error"]
    return f"{row['missing_frames']} of its frames are not predicted" if row["missing_frames"] else None
