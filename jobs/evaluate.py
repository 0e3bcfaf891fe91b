"""`rvos evaluate`: J, F and J&F of predicted masks, per frame, per pair, and per attribute."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa

from pipeline import storage
from pipeline.evaluation import breakdown
from pipeline.evaluation.gather import Key, PairResult, gather
from pipeline.evaluation.pairs import Pair, pairs_of_manifest, pairs_of_truth
from pipeline.evaluation.predictions import open_predictions
from pipeline.evaluation.truth import Truth
from pipeline.manifest import read_manifest
from pipeline.runs.run import Run, is_run, read_run_json
from schemas.errors import InputError
from schemas.manifest import attribute_columns
from schemas.version import __version__

PROTOCOL = "all annotated frames, mean over pairs"
STATUSES = ("scored", "failed", "missing", "unannotated")
LISTED = 1000  # pairs of each kind named in summary.json
SHOWN_PAIRS = 20  # up to so many the text has a table of them
RESERVED = {"object_id", "metric", "value", "frame_index", "frames", "status", *breakdown.METRICS}


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Options of `rvos evaluate`; see its help for each."""

    predictions: str
    annotations: str
    out: str
    manifest: str | None = None
    by: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateResult:
    """The scores. `pairs` is the table of `breakdown.pair_table`, of the pairs that count."""

    summary: dict
    pairs: pd.DataFrame

    @property
    def exit_code(self) -> int:
        return 1 if self.summary["pairs"]["failed"] or self.summary["pairs"]["missing"] else 0

    def to_json(self) -> dict:
        return self.summary

    def text(self) -> str:
        counts, frames = self.summary["pairs"], self.summary["frames"]
        lines = [f"scores    {self.summary['out']}", f"protocol  {PROTOCOL}"]
        zero = "; failed and missing ones score zero" if counts["failed"] or counts["missing"] else ""
        told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count or kind == "scored")
        lines.append(f"pairs     {told}{zero}")
        unpredicted = f", {frames['missing']} of them not predicted and scored zero" if frames["missing"] else ""
        lines.append(f"frames    {frames['scored']}{unpredicted}")
        rows = [("overall", self.summary["overall"])]
        lines += ["", *_table("", rows)]
        for attribute, values in self.summary["by"].items():
            lines += ["", *_table(attribute, [(str(row["value"]), row) for row in values])]
        if len(self.pairs) <= SHOWN_PAIRS:
            rows = [(_name(row), row) for row in self.pairs.to_dict("records")]
            lines += ["", *_table("pair", rows)]
        for kind in ("failed", "missing", "incomplete", "unannotated", "extra"):
            lines += [f"{kind:<12}{_name(pair)} {pair.get('error') or ''}" for pair in self.summary[kind][:5]]
        return "\n".join(line.rstrip() for line in lines)


def run(config: EvaluateConfig) -> EvaluateResult:
    """Score, and write scores.parquet, frame_scores.parquet and summary.json into `config.out`.

    Raises InputError for whatever is wrong with the inputs, a broken or misshaped mask included; nothing is written
    then.
    """
    truth = Truth.open(config.annotations)
    source = open_predictions(config.predictions)
    manifest, frame_step = _manifest(config)
    _check_attributes(config.by, manifest)
    if manifest is None:
        pairs = pairs_of_truth(truth, source.are_objects)
        attributes = pd.DataFrame(index=range(len(pairs)))
    else:
        pairs = pairs_of_manifest(manifest, truth, frame_step)
        attributes = manifest.select(attribute_columns(manifest.column_names)).to_pandas()
    results, extra = gather(source, pairs, truth)
    counted = [result for result in results if result.status != "unannotated"]
    if not counted:
        raise InputError(_nothing_in_common(pairs, truth))
    table = breakdown.pair_table(counted, attributes)
    out = storage.absolute(config.out)
    result = EvaluateResult(summary=_summary(config, table, results, extra, truth), pairs=table)
    storage.write_table(storage.join(out, "frame_scores.parquet"), breakdown.frame_rows(table, counted))
    storage.write_table(storage.join(out, "scores.parquet"), breakdown.score_rows(table, list(attributes.columns)))
    storage.write_bytes(storage.join(out, "summary.json"), (json.dumps(result.summary, indent=2) + "\n").encode())
    return result


def _manifest(config: EvaluateConfig) -> tuple[pa.Table | None, int]:
    """The manifest that says what to score, the run's own unless given, and the run's frame step."""
    folder = storage.absolute(config.predictions)
    the_run = Run.open(folder) if is_run(folder) else None
    step = int(read_run_json(folder).get("config", {}).get("frame_step", 1)) if the_run else 1
    if config.manifest is not None:
        return read_manifest(config.manifest), step
    return (the_run.manifest() if the_run else None), step


def _check_attributes(by: Sequence[str], manifest: pa.Table | None) -> None:
    known = ["video_id"] if manifest is None else ["video_id", *attribute_columns(manifest.column_names)]
    taken = sorted(set(known) & RESERVED)
    if taken:
        raise InputError(f"manifest columns {', '.join(taken)} have names that the scores need; rename them")
    for name in by:
        if name not in known:
            there = "there is no manifest; give one with --manifest" if manifest is None else f"there are {known}"
            raise InputError(f"--by {name}: no such attribute ({there})")


def _summary(
    config: EvaluateConfig, table: pd.DataFrame, results: list[PairResult], extra: list[Key], truth: Truth
) -> dict:
    listed = {status: [result for result in results if result.status == status] for status in STATUSES}
    scores = [result.score for result in listed["scored"] if result.score]
    incomplete = [score for score in scores if score.missing_frames]
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "predictions": storage.absolute(config.predictions),
        "annotations": storage.absolute(config.annotations),
        "manifest": None if config.manifest is None else storage.absolute(config.manifest),
        "out": storage.absolute(config.out),
        "void_pixels": truth.void_uri is not None,
        "pairs": {status: len(found) for status, found in listed.items()} | {"extra": len(extra)},
        "frames": {
            "scored": sum(len(score.j) for score in scores),
            "missing": sum(score.missing_frames for score in incomplete),
        },
        "overall": breakdown.overall(table),
        "by": {name: breakdown.by_attribute(table, name).to_dict("records") for name in config.by},
        "failed": [_ids(result.pair) | {"error": result.error} for result in listed["failed"][:LISTED]],
        "missing": [_ids(result.pair) for result in listed["missing"][:LISTED]],
        "incomplete": [
            _ids(score.pair) | {"error": f"{score.missing_frames} of {len(score.j)} frames are not predicted"}
            for score in incomplete[:LISTED]
        ],
        "unannotated": [_ids(result.pair) for result in listed["unannotated"][:LISTED]],
        "extra": [{"video_id": video, "expression_id": expression} for video, expression in extra[:LISTED]],
    }


def _ids(pair: Pair) -> dict:
    return {"video_id": pair.video_id, "expression_id": pair.expression_id, "object_id": pair.object_id}


def _nothing_in_common(pairs: list[Pair], truth: Truth) -> str:
    asked, annotated = sorted({pair.video_id for pair in pairs}), sorted(truth.tracks)
    return (
        "none of the pairs is annotated, so there is nothing to score; "
        f"video ids asked for: {', '.join(asked[:3])} ...; annotated: {', '.join(annotated[:3])} ..."
    )


def _name(row: dict) -> str:
    """A pair in few letters; ids of a data frame may be None or NaN."""
    named = [row[name] for name in ("video_id", "expression_id", "object_id") if isinstance(row.get(name), str)]
    return " ".join(named[:2])


def _table(title: str, rows: Sequence[tuple[str, dict]]) -> list[str]:
    """Lines of a table that fits 80 columns."""
    wide = min(max(len(title), *(len(name) for name, _ in rows)), 40)
    unit = "n" if "n" in rows[0][1] else "frames"
    lines = [f"{title:<{wide}}  {unit:>7}  {'J&F':>7}  {'J':>7}  {'F':>7}"]
    for name, row in rows:
        short = name if len(name) <= wide else name[: wide - 1] + "…"
        values = "  ".join(f"{row[metric]:7.4f}" for metric in breakdown.METRICS)
        lines.append(f"{short:<{wide}}  {row[unit]:>7}  {values}")
    return lines
