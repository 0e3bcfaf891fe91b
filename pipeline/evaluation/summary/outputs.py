"""The files of an evaluation: summary.json, and the long table of scores."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.metrics.average_precision import average_precision
from pipeline.evaluation.protocols import MEAN_WEIGHT, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS, CollectedScores
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.summary.counted_pairs import CountedPairs, missing_text
from pipeline.evaluation.summary.grouping import Grouping, spell_out
from pipeline.evaluation.summary.intervals import LEAST_VIDEOS, METHOD
from pipeline.evaluation.summary.protocol_mean import strata_of
from pipeline.masks.pairs_to_score import MaskKey
from schemas.scores import SCORES

PAIR_STATUSES = ("scored", *NOT_PREDICTED, "unannotated")
LISTED_PAIRS = 1000  # of each kind, in summary.json
FEW_VIDEOS = 10
UNEVEN = 10  # ratio of group sizes


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
    to_list = {f"{status}_pairs": by_status[status] for status in PAIR_STATUSES[1:]}
    to_list["incomplete_pairs"] = table[(table["status"] == "scored") & (table["missing_frames"] > 0)]
    listed = {
        name: [
            {key: row[key] for key in SCORE_IDS if isinstance(row[key], str)} | {"error": missing_text(row)}
            for row in rows.head(LISTED_PAIRS).to_dict("records")
        ]
        for name, rows in to_list.items()
    }
    with_extra = table[table["extra_frames"] > 0].head(LISTED_PAIRS).to_dict("records")
    extra_frames = [
        {key: row[key] for key in SCORE_IDS if isinstance(row[key], str)}
        | {"frames": int(row["extra_frames"]), "first": row["extra_frame"]}
        for row in with_extra
    ]
    overall = counted.means()
    if "mAP" in protocol.metrics:
        overall |= average_precision(collected.samples)
    by = {grouping.text: counted.by(grouping) for grouping in groupings}
    notes = _interval_notes("overall", [overall], protocol)
    notes += [text for name, rows in by.items() for text in _group_notes(name, rows, protocol)]
    if protocol.mean_over and strata_of(protocol, counted.pairs) is None:
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
        "interval_method": METHOD,
        "overall": overall,
        "by": by,
        "warnings": notes,
        **listed,
        "extra_frames": {"frames": int(table["extra_frames"].sum()), "pairs": extra_frames},
        "extra_pairs": [{"video_id": video, "expression_id": expression} for video, expression in extra[:LISTED_PAIRS]],
    }


def _group_notes(name: str, groups: Sequence[dict], protocol: Protocol) -> list[str]:
    """Return notes about a breakdown that is easily misread."""
    found = []
    sizes = [group["n"] for group in groups]
    if len(groups) > 1 and max(sizes) >= UNEVEN * min(sizes):
        found.append(f"by {name}: group sizes differ widely, {min(sizes)} to {max(sizes)} pairs; see the intervals")
    return found + _interval_notes(f"by {name}", groups, protocol)


def _interval_notes(name: str, rows: Sequence[dict], protocol: Protocol) -> list[str]:
    """Return notes on means over few videos: why they have no interval, or a rough one."""
    none = [row for row in rows if row["videos"] < LEAST_VIDEOS]
    few = [row for row in rows if LEAST_VIDEOS <= row["videos"] < FEW_VIDEOS]
    found = []
    for kind, text in (
        (none, f"fewer than {LEAST_VIDEOS} videos, too few for an interval"),
        (few, f"fewer than {FEW_VIDEOS} videos, rough intervals"),
    ):
        values = [spell_out(row["value"]) for row in kind if "value" in row]
        listed = f": {', '.join(values[:3])}{' ...' if len(values) > 3 else ''}" if values else ""
        found += [f"{name}: {text}{listed}"] if kind else []
    missing = {m: None for row in rows if row not in none for m, ends in row["interval"].items() if ends is None}
    if missing:
        within = f" of each {protocol.mean_over}" if protocol.mean_over else ""
        text = f"no interval of {', '.join(missing)}, for which fewer than {LEAST_VIDEOS} videos{within} count"
        found.append(f"{name}: {text}")
    return found


def score_rows(
    pairs: pd.DataFrame,
    metrics: Sequence[str],
    attributes: Sequence[str],
    weights: Mapping[str, np.ndarray] | None = None,
) -> pa.Table:
    """Return SCORES followed by the attribute columns: one row for each pair and metric that it has.

    weights: of each metric [N], for protocols whose means weight the pairs; written as MEAN_WEIGHT.
    """
    names = [*SCORE_IDS, *(name for name in attributes if name not in SCORE_IDS)]
    parts = [pairs[names].assign(metric=metric, value=pairs[metric]) for metric in metrics]
    if weights is not None:
        names.append(MEAN_WEIGHT)
        parts = [part.assign(**{MEAN_WEIGHT: weights[metric]}) for metric, part in zip(metrics, parts, strict=True)]
    long = pd.concat(parts).sort_index(kind="stable")
    long = long[long["value"].notna()]
    declared = pa.Table.from_pandas(long[SCORES.names], SCORES, preserve_index=False)
    for name in names[len(SCORE_IDS) :]:
        declared = declared.append_column(name, pa.array(long[name], from_pandas=True))
    return declared
