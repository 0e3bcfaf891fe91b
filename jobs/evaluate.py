"""`rvos evaluate`: score predicted masks by a named protocol, per frame, per pair, and by attribute."""

import os
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from jobs.config.evaluate import EvaluateConfig
from jobs.result import JobResult
from jobs.terminal.output import echo
from jobs.terminal.progress import count
from jobs.terminal.tables import score_table
from pipeline.cluster.tasks import run_tasks
from pipeline.evaluation.protocols import MISSING, PROTOCOLS, MissingRule, Protocol
from pipeline.evaluation.scoring.collect import collect
from pipeline.evaluation.scoring.object_attributes import SHAPE_ATTRIBUTES
from pipeline.evaluation.scoring.one_sided import one_sided_lines, only_on_one_side
from pipeline.evaluation.scoring.plausibility import FORCE, Plausibility
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.evaluation.scoring.tasks import Scoring, plan_scoring
from pipeline.evaluation.summary.counted_pairs import check_groupings, count_pairs, known_attributes
from pipeline.evaluation.summary.grouping import Grouping, spell_out
from pipeline.evaluation.summary.intervals import METHOD_IN_SHORT
from pipeline.evaluation.summary.outputs import score_rows, summarise
from pipeline.evaluation.summary.score_folder import NOT_METRICS, require_own_scores
from pipeline.io import output_folder, parquet, storage
from pipeline.masks.label_agreement import shifted_labels, shorten_list
from pipeline.masks.pairs_to_score import MaskKey
from pipeline.masks.png_trees import PngReading
from pipeline.masks.predictions import manifest_of
from pipeline.masks.tree_masks import TreeMasks
from pipeline.report.score_tables import Measured, ScoreTable
from pipeline.runs.run_json import is_run, read_run_json
from schemas.errors import ImplausibleError, InputError
from schemas.pair import PairKey
from schemas.printable import one_line
from schemas.shown import shown_json
from schemas.version import __version__

TABULATED_PAIRS = 20  # up to this many pairs, the text lists each
PAIRS_SHOWN = 5  # of each kind that was not scored
ONE_CANDIDATE = (
    "every frame has one candidate, so mAP is not the published one, which takes all object queries; use "
    "'rvos segment' with --rules or --candidates all"
)
LOCAL_BYTES = 96 * 2**20  # of predictions; larger ones are scored on Ray


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateResult(JobResult):
    """The scores. `pairs`: ids, metrics and attributes of each pair that enters the means."""

    summary: dict
    pairs: pd.DataFrame

    @property
    def exit_code(self) -> int:
        return 1 if any(self.summary["pairs"][status] for status in NOT_PREDICTED) else 0

    def to_json(self) -> dict:
        return self.summary

    def table(self) -> ScoreTable:
        """One row for all pairs, then one for each group of `--by`."""
        summary = self.summary
        metrics = [name for name in summary["overall"] if name not in NOT_METRICS]
        groups = [(name, spell_out(row["value"]), row) for name, rows in summary["by"].items() for row in rows]
        rows = [
            [name, value, row["n"], row["videos"], *(Measured.of(row, metric) for metric in metrics)]
            for name, value, row in [("", "overall", summary["overall"]), *groups]
        ]
        notes = [
            f"Protocol {summary['protocol']}, missing: {summary['missing_rule']}, truth {summary['truth_hash']}.",
            f"{summary['predictions']} scored against {summary['annotations']}. {summary['interval_method']}.",
            *summary["warnings"],
        ]
        return ScoreTable(["by", "value", "pairs", "videos", *metrics], rows, notes)

    def text(self) -> str:
        summary, overall = self.summary, self.summary["overall"]
        metrics = [name for name in overall if name not in NOT_METRICS]
        shown = [name for name in PROTOCOLS[summary["protocol"]].shown if name in metrics]
        others = [name for name in metrics if name not in shown]
        counts = ", ".join(f"{count} {kind}" for kind, count in summary["pairs"].items() if count or kind == "scored")
        frames = summary["frames"]
        missing = f", {frames['missing']} of them not predicted" if frames["missing"] else ""
        extra = summary["extra_frames"]["frames"]
        missing += f"; {extra} predicted ones are not annotated" if extra else ""
        lines = [
            f"scores    {summary['out']}",
            f"protocol  {summary['protocol']}: {PROTOCOLS[summary['protocol']].title}",
            f"pairs     {counts}",
            f"frames    {summary['frames']['scored']}{missing}",
            f"missing   {summary['missing_rule']}: {MISSING[summary['missing_rule']]}",
            "",
            *score_table("", [("overall", overall)], shown),
            *([""] if others else []),
        ]
        for name in others:
            value = "  none" if overall[name] is None else f"{overall[name]:7.4f}"
            ends = overall["interval"].get(name)
            lines.append(f"{name:<12}{value}" + (f"  [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""))
        for attribute, values in summary["by"].items():
            lines += ["", *score_table(attribute, [(spell_out(row["value"]), row) for row in values], shown)]
        if len(self.pairs) <= TABULATED_PAIRS:
            rows = [(_short_ids(row), {"n": row["frames"], **row}) for row in self.pairs.to_dict("records")]
            lines += ["", *score_table("pair", rows, shown, unit="frames", intervals=False)]
        for kind in (*NOT_PREDICTED, "incomplete", "unannotated", "extra"):
            listed = summary[f"{kind}_pairs"]
            lines += [f"{kind:<12}{_short_ids(pair)} {pair.get('error') or ''}" for pair in listed[:PAIRS_SHOWN]]
            if (more := summary["pairs"].get(kind, len(listed)) - PAIRS_SHOWN) > 0 and listed:
                lines.append(f"{kind:<12}... and {more} more")
        if any(overall["interval"].values()):
            lines.append(f"{'intervals':<12}{METHOD_IN_SHORT}")
        masks = [f"{side}: {text}" for side, text in summary["masks"].items()]
        for text in [*masks, *one_sided_lines(summary["only_in"]), *summary["warnings"]]:
            lines += textwrap.wrap(text, 80, initial_indent=f"{'note':<12}", subsequent_indent=" " * 12)
        return "\n".join(line.rstrip() for line in lines)


def run(config: EvaluateConfig) -> EvaluateResult:
    """Score, and write scores.parquet, frame_scores.parquet and summary.json into `config.out`.

    Raises InputError if an input is not valid, corrupt annotations included, or if `config.out` holds other scores;
    nothing is written then.
    """
    protocol = PROTOCOLS[config.protocol]
    missing: Any = config.missing or protocol.missing
    out, made_of = storage.absolute(config.out), _made_of(config, missing)
    grouped_before = require_own_scores(out, made_of)
    manifest, groupings = manifest_of(config.predictions, config.manifest), [Grouping.parse(text) for text in config.by]
    check_groupings(groupings, manifest)
    scoring = _open(config, manifest, protocol, missing)
    with_shapes = any(column.name in SHAPE_ATTRIBUTES for grouping in groupings for column in grouping.columns)
    scorer = replace(scoring.scorer, with_shapes=with_shapes)
    requested = scoring.requested()
    if not len(requested):
        form = f" ({scorer.truth.meaning})" if scorer.truth.meaning else ""
        raise InputError(f"{config.annotations} shows no object in any mask{form}; is it the ground truth?")
    tasks, extra, predicted_videos = plan_scoring(
        scorer.source, requested, whole_videos=protocol.assigned or protocol.first_frame_objects
    )
    frame_scores = storage.join(out, "frame_scores.parquet")
    with output_folder.without_new_folders(out), storage.spool(frame_scores) as path:
        large = config.address is None and scorer.source.size > LOCAL_BYTES
        results = run_tasks(scorer, tasks, address=config.address, large=large)
        plausibility = Plausibility(has_void=protocol.void and scorer.truth.void is not None)
        collected = collect(plausibility.watch(results), scorer.metrics, path)
        counted = count_pairs(collected, scorer, manifest)
        if not len(counted.pairs):
            videos = set(requested["video_id"].to_pylist())
            raise InputError(_nothing_to_score(collected.pairs, sorted(videos), scoring.annotated))
        predicted = str(PairKey(*extra[0])) if extra else f"video_id={min(predicted_videos, default='')}"
        predicted = predicted if predicted_videos else ""
        shifted = None if scorer.source.are_objects or manifest is None else _shifted(counted.pairs, extra)
        if shifted and not config.force:
            raise ImplausibleError(f"{config.predictions}: {shifted}\n{FORCE}")
        notes = [*scoring.notes, *plausibility.require(predicted, force=config.force), *([shifted] if shifted else [])]
        summary = _provenance(config, made_of, scorer) | summarise(counted, collected, scorer, groupings, extra)
        if "mAP" in protocol.metrics and all(len(candidates) < 2 for _, candidates in collected.samples):
            notes = [*notes, ONE_CANDIDATE]
            summary["protocol_confirmed"] = False
        if dropped := [name for name in grouped_before if name not in summary["by"]]:
            echo(f"{out} loses its means by {', '.join(dropped)}; to keep them, repeat their --by too", err=True)
        summary["warnings"] = [*notes, *summary["warnings"]]
        summary["only_in"] = only_on_one_side(scorer.source, scoring.annotated, scoring.objects, predicted_videos)
        storage.commit(path, frame_scores, replace=True)
    attributes = [name for name in counted.pairs.columns if name in known_attributes(manifest)]
    metrics = [name for name in protocol.metrics if name in counted.pairs.columns]
    weights = dict(zip(counted.metrics, counted.weights.T, strict=True)) if protocol.per_frame else None
    parquet.write_table(storage.join(out, "scores.parquet"), score_rows(counted.pairs, metrics, attributes, weights))
    storage.write_bytes(storage.join(out, "summary.json"), f"{shown_json(summary)}\n".encode())
    return EvaluateResult(summary=summary, pairs=counted.pairs)


def _open(config: EvaluateConfig, manifest: Any, protocol: Protocol, missing: MissingRule) -> Scoring:
    """Open the inputs."""
    inputs = config.predictions, config.annotations, manifest
    reading = PngReading(config.workers or os.cpu_count() or 1, count("masks read"))
    return Scoring.open(*inputs, protocol, missing, force=config.force, reading=reading)


def _made_of(config: EvaluateConfig, missing: MissingRule) -> dict:
    """The rule and the files that decide the scores, as in summary.json."""
    predictions = storage.absolute(config.predictions)
    return {
        "protocol": config.protocol,
        "missing_rule": missing,
        "predictions": predictions,
        "annotations": storage.absolute(config.annotations),
        "manifest": None if config.manifest is None else storage.absolute(config.manifest),
        "run_fingerprint": read_run_json(predictions)["fingerprint"] if is_run(predictions) else None,
    }


def _provenance(config: EvaluateConfig, made_of: dict, scorer: Scorer) -> dict:
    """The part of summary.json that says by what rule and from which files the scores are."""
    source = scorer.source
    meanings = {"annotations": scorer.truth.meaning, "predictions": None}
    if isinstance(source, TreeMasks):
        meanings["predictions"] = source.meaning.text
    return {
        "version": __version__,
        **made_of,
        "protocol_confirmed": scorer.protocol.confirmed,
        "out": storage.absolute(config.out),
        "masks": {side: text for side, text in meanings.items() if text},
    }


def _shifted(pairs: Any, extra: Sequence[MaskKey]) -> str | None:
    """Return by how much all predicted expression ids differ from those of the manifest, None if they do not."""
    rows = pairs[pairs["expression_id"].notna()]
    asked, predicted = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    columns = (rows[name] for name in ("video_id", "expression_id", "status"))
    for video, expression, status in zip(*columns, strict=True):
        asked[video].add(expression)
        if status != "missing":
            predicted[video].add(expression)
    for video, expression in extra:
        predicted[video].add(expression)
    return shifted_labels(predicted, asked, "expression ids", "expressions in the manifest")


def _nothing_to_score(pairs: Any, videos: list[str], annotated: Mapping[str, frozenset[str]]) -> str:
    if not any(annotated.values()):
        return "nothing to score: the annotations show no object in any frame; check that these are the annotations"
    counts = pairs["status"].value_counts().drop("unannotated", errors="ignore")
    if len(counts):
        text = ", ".join(f"{count} {status}" for status, count in counts.items())
        return f"nothing to score: no pair has masks that fit its annotations ({text}); check ids and frame sizes"
    if len(dropped := pairs[pairs["error"].notna()]):
        first = dropped.iloc[0].to_dict()
        text = "choose another --protocol, or check the ids and frames of the annotations"
        return f"nothing to score: {_short_ids(first)}: {first['error']}; {text}"
    shared = [video for video in videos if video in annotated]
    if shared:
        first = pairs[pairs["video_id"] == shared[0]].iloc[0].to_dict()
        objects = f" (object {first['object_id']})" if isinstance(first.get("object_id"), str) else ""
        sides = (
            f"asked for: {_short_ids(first)}{objects}; annotated in {shared[0]}: {shorten_list(annotated[shared[0]])}"
        )
        return f"nothing to score: none of the pairs is annotated; {sides}; ids of both sides must be equal"
    return (
        "nothing to score: none of the pairs is annotated; "
        f"video ids asked for: {', '.join(videos[:3])} ...; annotated: {', '.join(sorted(annotated)[:3])} ..."
    )


def _short_ids(row: dict) -> str:
    """A pair in few letters. Ids of a data frame may be None or NaN."""
    ids = [row[name] for name in ("video_id", "expression_id", "object_id") if isinstance(row.get(name), str)]
    return one_line(" ".join(ids[:2]))
