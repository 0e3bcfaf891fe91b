"""`rvos evaluate`: scores of predicted masks by a named protocol, per frame, per pair, and per attribute."""

import json
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from jobs.config.evaluate import EvaluateConfig
from jobs.terminal.tables import score_table
from pipeline.cluster.tasks import run_tasks
from pipeline.evaluation.metrics.average_precision import average_precision
from pipeline.evaluation.protocols import MISSING, NO_TARGET, PROTOCOLS, RESERVED, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS, CollectedScores, collect
from pipeline.evaluation.scoring.object_attributes import DESCRIBED, VISUAL
from pipeline.evaluation.scoring.score_task import RESULT, Scorer
from pipeline.evaluation.scoring.tasks import plan_scoring
from pipeline.evaluation.summary.attributes import COMPUTED, Grouping, spell_out, textual_attributes
from pipeline.evaluation.summary.breakdown import Scores, score_rows, warnings
from pipeline.io import storage
from pipeline.masks.annotations import Annotations
from pipeline.masks.predictions import manifest_of, open_predictions
from pipeline.masks.requested import MaskKey, pairs_from_annotations, pairs_from_manifest
from pipeline.runs.run import is_run, read_run_json
from schemas.errors import InputError
from schemas.manifest import attribute_columns
from schemas.version import __version__

STATUSES = ("scored", "failed", "missing", "misshaped", "unannotated")
NOT_SCORED = ("failed", "missing", "misshaped")
LISTED = 1000  # pairs of each kind named in summary.json
SHOWN_PAIRS = 20  # up to so many the text has a table of them
SMALL = 96 * 2**20  # bytes of predictions up to which no Ray is started, unless asked for


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateResult:
    """The scores. `pairs` are those that count: ids, metrics and attributes of each."""

    summary: dict
    pairs: pd.DataFrame

    @property
    def exit_code(self) -> int:
        return 1 if any(self.summary["pairs"][status] for status in NOT_SCORED) else 0

    def to_json(self) -> dict:
        return self.summary

    def text(self) -> str:
        summary = self.summary
        shown, rest = _columns(summary)
        told = ", ".join(f"{count} {kind}" for kind, count in summary["pairs"].items() if count or kind == "scored")
        lost = f", {summary['frames']['missing']} of them not predicted" if summary["frames"]["missing"] else ""
        lines = [
            f"scores    {summary['out']}",
            f"protocol  {summary['protocol']}: {PROTOCOLS[summary['protocol']].title}",
            f"pairs     {told}",
            f"frames    {summary['frames']['scored']}{lost}",
            f"missing   {summary['missing_rule']}: {MISSING[summary['missing_rule']]}",
            "",
            *score_table("", [("overall", summary["overall"])], shown),
            *([""] if rest else []),
            *(_line(name, summary["overall"]) for name in rest),
        ]
        for attribute, values in summary["by"].items():
            lines += ["", *score_table(attribute, [(spell_out(row["value"]), row) for row in values], shown)]
        if len(self.pairs) <= SHOWN_PAIRS:
            rows = [(_name(row), {"n": row["frames"], **row}) for row in self.pairs.to_dict("records")]
            lines += ["", *score_table("pair", rows, shown, unit="frames", intervals=False)]
        for kind in (*NOT_SCORED, "incomplete", "unannotated", "extra"):
            lines += [f"{kind:<12}{_name(pair)} {pair.get('error') or ''}" for pair in summary[f"{kind}_pairs"][:5]]
        for text in summary["warnings"]:
            lines += textwrap.wrap(text, 80, initial_indent=f"{'note':<12}", subsequent_indent=" " * 12)
        return "\n".join(line.rstrip() for line in lines)


def run(config: EvaluateConfig) -> EvaluateResult:
    """Score, and write scores.parquet, frame_scores.parquet and summary.json into `config.out`.

    Raises InputError for whatever is wrong with the inputs, broken annotations included; no file is written then.
    """
    truth = Annotations.open(config.annotations)
    source = open_predictions(config.predictions)
    manifest, frame_step = manifest_of(config.predictions, config.manifest)
    bys = [Grouping.parse(text) for text in config.by]
    _check_attributes(bys, manifest)
    tracks = truth.keys_by_video()
    if manifest is None:
        asked = pairs_from_annotations(tracks, truth.key, source.are_objects)
    else:
        asked = pairs_from_manifest(manifest, tracks, truth.key)
    protocol = PROTOCOLS[config.protocol]
    scorer = Scorer(
        source=source,
        truth=truth,
        protocol=protocol,
        missing=config.missing or protocol.missing,  # pyright: ignore[reportArgumentType]
        frame_step=frame_step,
        visual=any(column.name in DESCRIBED for by in bys for column in by.columns),
    )
    tasks, extra = plan_scoring(source, asked)
    out = storage.absolute(config.out)
    frame_scores = storage.join(out, "frame_scores.parquet")
    with storage.spool(frame_scores) as path:
        results = run_tasks(scorer, tasks, RESULT, address=config.address, large=source.size > SMALL)
        gathered = collect(results, scorer.metrics, path)
        counted = _counted(gathered, scorer, manifest)
        if not len(counted.pairs):
            raise InputError(_nothing_to_score(asked, gathered, tracks))
        summary = _summary(config, counted, gathered, extra, scorer, bys)
        storage.commit(path, frame_scores, replace=True)
    attributes = [name for name in counted.pairs.columns if name in _known_attributes(manifest)]
    metrics = [name for name in protocol.metrics if name in counted.pairs.columns]
    storage.write_table(storage.join(out, "scores.parquet"), score_rows(counted.pairs, metrics, attributes))
    storage.write_bytes(storage.join(out, "summary.json"), (json.dumps(summary, indent=2) + "\n").encode())
    return EvaluateResult(summary=summary, pairs=counted.pairs)


def _known_attributes(manifest: pa.Table | None) -> list[str]:
    columns = [] if manifest is None else attribute_columns(manifest.column_names)
    return list(dict.fromkeys([*columns, *(VISUAL if manifest is None else COMPUTED)]))


def _check_attributes(bys: Sequence[Grouping], manifest: pa.Table | None) -> None:
    known = ["video_id", *_known_attributes(manifest)]
    taken = sorted(set(known) & RESERVED)
    if taken:
        raise InputError(f"manifest columns {', '.join(taken)} have names that the scores need; rename them")
    for by in bys:
        for column in by.columns:
            if column.name not in known:
                no_manifest = "there is no manifest; give one with --manifest, or use " if manifest is None else ""
                raise InputError(f"--by {by.text}: no such attribute {column.name} ({no_manifest}{', '.join(known)})")


def _counted(gathered: CollectedScores, scorer: Scorer, manifest: pa.Table | None) -> Scores:
    """The pairs that enter the means, with their attributes. Raises InputError with `--missing error`."""
    table: Any = gathered.pairs
    if scorer.missing == "error":
        wrong = table[table["status"].isin(NOT_SCORED) | (table["missing_frames"] > 0)]
        if len(wrong):
            lines = [f"{_ids_text(row)}: {_what_is_missing(row)}" for row in wrong.head(20).to_dict("records")]
            text = "\n".join(lines)
            raise InputError(f"{text}\n{len(wrong)} pairs are not fully predicted, and --missing is error")
    counts = (table["frames"] > 0).to_numpy()
    pairs, weights, metrics = table[counts].reset_index(drop=True), gathered.weights[counts], scorer.metrics
    if "N-acc" in metrics and pairs["N-acc"].isna().all():  # all expressions have a target: nothing to tell apart
        kept = [at for at, name in enumerate(metrics) if name not in NO_TARGET]
        pairs, weights, metrics = pairs.drop(columns=list(NO_TARGET)), weights[:, kept], tuple(metrics[n] for n in kept)
    if not scorer.visual:
        pairs = pairs.drop(columns=list(DESCRIBED))
    if "J" in pairs:
        pairs["J&F"] = (pairs["J"] + pairs["F"]) / 2
    if manifest is not None:
        computed = textual_attributes(manifest.select(["video_id", "expression"]).to_pandas())
        given = {name: manifest[name].to_pandas() for name in attribute_columns(manifest.column_names)}
        if "annotator" in given and given["annotator"].isna().all():
            del given["annotator"]  # the protocol may know better
        for name, column in ({**given} | {n: computed[n] for n in computed if n not in given}).items():
            pairs[name] = column.iloc[pairs["row"]].array
    meant = _meant(pairs, scorer.protocol)
    return Scores(pairs[meant].reset_index(drop=True), metrics, weights[meant], scorer.protocol)


def _meant(pairs: pd.DataFrame, protocol: Protocol) -> np.ndarray:
    """Which pairs the protocol averages over, bool [N]. Raises InputError if there are pairs, but none of those."""
    column = protocol.mean_over
    if not protocol.mean_of or column not in pairs:
        return np.ones(len(pairs), bool)
    values: Any = pd.to_numeric(pairs[column], errors="coerce")
    meant = values.isin(protocol.mean_of).to_numpy()
    if len(pairs) and not meant.any():
        of = " or ".join(map(str, protocol.mean_of))
        raise InputError(f"no pair has {column} {of}, and {protocol.name} scores no others")
    return meant


def _summary(
    config: EvaluateConfig,
    scores: Scores,
    gathered: CollectedScores,
    extra: list[MaskKey],
    scorer: Scorer,
    bys: Sequence[Grouping],
) -> dict:
    table: Any = gathered.pairs
    listed = {status: table[table["status"] == status] for status in STATUSES}
    incomplete = table[(table["status"] == "scored") & (table["missing_frames"] > 0)]
    overall = scores.means()
    if "mAP" in scorer.protocol.metrics:
        overall |= average_precision(gathered.samples)
    groups = {by.text: scores.by(by) for by in bys}
    notes = [text for name, rows in groups.items() for text in warnings(name, rows)]
    if scorer.protocol.mean_over and scores.strata is None:
        notes.append(f"no column {scorer.protocol.mean_over}: the mean is over all pairs alike")
    left_out = int((table["frames"] > 0).sum()) - len(scores.pairs)
    if scorer.protocol.mean_of and left_out:
        notes.append(f"{left_out} pairs do not count, for their {scorer.protocol.mean_over}; all-frames has them")
    return {
        "version": __version__,
        "protocol": scorer.protocol.name,
        "protocol_confirmed": not scorer.protocol.unconfirmed,
        "missing_rule": scorer.missing,
        "predictions": storage.absolute(config.predictions),
        "annotations": storage.absolute(config.annotations),
        "manifest": None if config.manifest is None else storage.absolute(config.manifest),
        "out": storage.absolute(config.out),
        "run_fingerprint": _fingerprint(config),
        "truth_hash": gathered.truth_hash,
        "predictions_hash": gathered.predictions_hash,
        "void_pixels": scorer.protocol.void and scorer.truth.void is not None,
        "pairs": {status: len(found) for status, found in listed.items()} | {"extra": len(extra)},
        "frames": {
            "scored": int(table["frames"].sum()),
            "missing": int(table["missing_frames"].sum()),
        },
        "overall": overall,
        "by": groups,
        "warnings": notes,
        **{f"{status}_pairs": _listed(listed[status]) for status in STATUSES[1:]},
        "incomplete_pairs": _listed(incomplete),
        "extra_pairs": [{"video_id": video, "expression_id": thing} for video, thing in extra[:LISTED]],
    }


def _fingerprint(config: EvaluateConfig) -> str | None:
    folder = storage.absolute(config.predictions)
    return read_run_json(folder)["fingerprint"] if is_run(folder) else None


def _listed(rows: pd.DataFrame) -> list[dict]:
    return [
        {name: row[name] for name in SCORE_IDS if isinstance(row[name], str)} | {"error": _what_is_missing(row)}
        for row in rows.head(LISTED).to_dict("records")
    ]


def _what_is_missing(row: dict[Any, Any]) -> str | None:
    if isinstance(row["error"], str):
        return row["error"]
    return f"{row['missing_frames']} of its frames are not predicted" if row["missing_frames"] else None


def _nothing_to_score(asked: pa.Table, gathered: CollectedScores, tracks: dict) -> str:
    states = gathered.pairs["status"].value_counts().drop("unannotated", errors="ignore")
    if len(states):
        told = ", ".join(f"{count} {status}" for status, count in states.items())
        return f"no pair has masks that fit its truth ({told}), so there is nothing to score; do ids and sizes agree?"
    videos, annotated = sorted(set(asked["video_id"].to_pylist())), sorted(tracks)
    return (
        "none of the pairs is annotated, so there is nothing to score; "
        f"video ids asked for: {', '.join(videos[:3])} ...; annotated: {', '.join(annotated[:3])} ..."
    )


def _columns(summary: dict) -> tuple[list[str], list[str]]:
    """The metrics that tables show side by side, and those below."""
    there = [name for name in summary["overall"] if name not in ("n", "videos", "interval")]
    shown = [name for name in PROTOCOLS[summary["protocol"]].shown if name in there]
    return shown, [name for name in there if name not in shown]


def _line(name: str, row: dict) -> str:
    if row[name] is None:
        return f"{name:<12}  none"
    ends = row["interval"].get(name)
    return f"{name:<12}{row[name]:7.4f}" + (f"  [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else "")


def _ids_text(row: dict[Any, Any]) -> str:
    return " ".join(f"{name}={row[name]}" for name in SCORE_IDS[:3] if isinstance(row[name], str))


def _name(row: dict[Any, Any]) -> str:
    """A pair in few letters; ids of a data frame may be None or NaN."""
    named = [row[name] for name in ("video_id", "expression_id", "object_id") if isinstance(row.get(name), str)]
    return " ".join(named[:2])
