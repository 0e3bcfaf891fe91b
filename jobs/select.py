"""`rvos select`: numbers for every pair of a run, and which pairs to train on."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs import evaluate
from jobs.config.select import SelectConfig
from pipeline.cluster.tasks import run_tasks
from pipeline.io import output_folder, storage
from pipeline.masks.by_video import MaskSource
from pipeline.report.page import cut
from pipeline.report.samples import sample
from pipeline.report.selected import border, selection_html, with_border
from pipeline.selection.calibration import Calibration, calibrate
from pipeline.selection.measuring import MEASURED, Measurer, plan_tasks
from pipeline.selection.quality_signals import SCHEMA
from pipeline.selection.repeats import SeenVideos
from pipeline.selection.rules import Rule, read_rules
from schemas.errors import InputError, RvosError
from schemas.pair import PairKey

PAIRS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("expression_id", pa.string()),
        *SCHEMA,
        pa.field("quality", pa.float64()),  # J&F where the truth is known
        pa.field("keep", pa.bool_()),
        pa.field("reason", pa.string()),  # of every rule that drops the pair; null if it is kept
    ]
)
MASKS_HERE = 20_000  # up to so many no Ray is started, unless asked for
CORRELATIONS_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectResult:
    """How many pairs are kept, and why the others are not."""

    out: str
    report: str
    pairs: int
    kept: int
    dropped: dict[str, int]  # by rule; a pair that fails several counts for each
    rules: list[str]
    calibration: Calibration | None
    notes: list[str]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{'out':<12}{self.out}", f"{'report':<12}{self.report}"]
        lines += [f"{'pairs':<12}{self.pairs:,}", f"{'kept':<12}{self.kept:,}"]
        lines += [f"{'dropped':<12}{count:,}  {what}" for what, count in self.dropped.items()]
        if self.calibration:
            lines += _calibration_lines(self.calibration)
        return "\n".join([*lines, *(f"{'note':<12}{note}" for note in self.notes)])


def run(config: SelectConfig) -> SelectResult:
    """Write OUT/pairs.parquet (a row for every pair), OUT/manifest.parquet (the kept ones), OUT/summary.json and
    OUT/report.html.

    Memory is the manifest and about 600 bytes a pair. Raises InputError for broken masks and for rules that are none.
    """
    rules = read_rules(config.rule, config.rules)
    source = MaskSource.open(config.run, config.manifest)
    against = None if config.against is None else MaskSource.open(config.against)
    out = storage.absolute(config.out)
    output_folder.require_outside(out, source.uri)
    named = {rule.measure for rule in rules} | {config.measure}
    if "other_run" in named and config.against is None:
        raise InputError("other_run is the agreement with another run; name that with --against")
    look = "video_repeats" in named
    if look:
        source.require_manifest()
    tasks, masks = plan_tasks(source, against)
    made_of = json.loads(json.dumps({"form": "select", **asdict(config), "out": None, "address": None}))
    output_folder.claim(out, made_of)
    measurer = Measurer(with_manifest=source.manifest is not None, look=look)
    table = _pairs(run_tasks(measurer, tasks, MEASURED, address=config.address, large=masks > MASKS_HERE))
    notes: list[str] = []
    calibration = None
    if config.calibrate is not None:
        table, calibration, notes = _calibrated(config, table, storage.join(out, "calibration"))
        rules += [calibration.rule] if calibration.rule else []
    table, dropped = _decided(table, rules)
    notes += _unknown(table, rules)
    storage.write_table(storage.join(out, "pairs.parquet"), table)
    if source.manifest is None:
        notes.append("there is no manifest, so none of the kept pairs was written; give it with --manifest")
    else:
        in_order = source.manifest.sort_by([("video_id", "ascending"), ("expression_id", "ascending")])
        kept = in_order.filter(table["keep"].combine_chunks())
        storage.write_table(storage.join(out, "manifest.parquet"), kept)
    page = storage.join(out, "report.html")
    storage.write_bytes(page, _page(config, source, table, rules, dropped, calibration, notes))
    result = SelectResult(
        out=out,
        report=page,
        pairs=len(table),
        kept=int(pc.sum(table["keep"]).as_py() or 0),
        dropped=dropped,
        rules=[str(rule) for rule in rules],
        calibration=calibration,
        notes=notes,
    )
    document = json.dumps(result.to_json(), indent=2, allow_nan=False) + "\n"
    storage.write_bytes(storage.join(out, "summary.json"), document.encode())
    output_folder.finish(out, made_of, {"pairs": result.pairs, "kept": result.kept})
    return result


def _pairs(results: Iterable[pa.Table]) -> pa.Table:
    """PAIRS of tables of MEASURED, in their order; nothing is decided yet but that pairs that failed have a reason."""
    seen, before, repeated = SeenVideos(), None, 0.0
    tables = [PAIRS.empty_table()]
    for found in results:
        video_repeats = []
        for video, look in zip(found["video_id"].to_pylist(), found["look"].to_pylist(), strict=True):
            if look is not None and video != before:  # all pairs of a video that have masks have its look
                before, repeated = video, seen.repeats(np.frombuffer(look, np.uint64))
            video_repeats.append(None if look is None else repeated)
        found = found.rename_columns({"problem": "reason"})
        columns = [
            pa.array(video_repeats, pa.float64()) if name == "video_repeats"
            else found[name] if name in found.column_names
            else pa.nulls(len(found), PAIRS.field(name).type)
            for name in PAIRS.names
        ]  # fmt: skip
        tables.append(pa.Table.from_arrays(columns, schema=PAIRS))
    return pa.concat_tables(tables).combine_chunks()


def _calibrated(config: SelectConfig, table: pa.Table, out: str) -> tuple[pa.Table, Calibration, list[str]]:
    """The table with the quality of labelled pairs, what it tells of the measures, and notes; scores go to `out`."""
    try:
        scored = _scored(config, out)
        table = _with_quality(table, scored)
        labelled: Any = table.to_pandas()
        labelled = labelled[labelled["quality"].notna()].reset_index()
        calibration = calibrate(labelled, config.good, config.precision, config.measure)
    except InputError:
        storage.remove_folder(out)  # or the corrected command would find what another one made
        raise
    notes = []
    if lost := {status: count for status in evaluate.NOT_SCORED if (count := scored.summary["pairs"][status])}:
        told = ", ".join(f"{count:,} {status}" for status, count in lost.items())
        notes.append(f"{sum(lost.values()):,} labelled pairs have no J&F ({told}); see {out}/summary.json")
    if calibration.rule is None:
        text = f"no cut of {calibration.measure} reaches a precision of {config.precision:g}; none was made"
        notes.append(text)
    return table, calibration, notes


def _with_quality(table: pa.Table, scored: evaluate.EvaluateResult) -> pa.Table:
    rows: list[dict] = scored.pairs.to_dict("records")
    quality = {PairKey.of(row): row["J&F"] for row in rows}
    keys = PairKey.of_all(table)
    values = pa.array([quality.get(key) for key in keys], pa.float64())
    return table.set_column(table.column_names.index("quality"), "quality", values)


def _scored(config: SelectConfig, out: str) -> evaluate.EvaluateResult:
    """The pairs whose truth is known, scored into the folder `out`."""
    return evaluate.run(
        evaluate.EvaluateConfig(
            predictions=config.run,
            annotations=config.calibrate or "",
            out=out,
            manifest=config.manifest,
            missing="skip",
            address=config.address,
        )
    )


def _decided(table: pa.Table, rules: list[Rule]) -> tuple[pa.Table, dict[str, int]]:
    """The table with keep and reason, and how many pairs each rule drops, those without masks first."""
    measured = table.select([rule.measure for rule in rules]).to_pylist() if rules else [{}] * len(table)
    reasons: list[str | None] = []
    dropped = {"without masks": 0} | {str(rule): 0 for rule in rules}
    for failed, values in zip(table["reason"].to_pylist(), measured, strict=True):
        if failed is not None:
            dropped["without masks"] += 1
            reasons.append(failed)
            continue
        found = {str(rule): reason for rule in rules if (reason := rule.reason(values))}
        for rule in found:
            dropped[rule] += 1
        reasons.append("; ".join(found.values()) or None)
    columns = {"keep": pa.array([reason is None for reason in reasons]), "reason": pa.array(reasons, pa.string())}
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table, {rule: count for rule, count in dropped.items() if count}


def _unknown(table: pa.Table, rules: list[Rule]) -> Iterator[str]:
    """A word on each measure of a rule that pairs with masks do not have."""
    measured = table.filter(pc.is_valid(table["frames"]))
    for name in dict.fromkeys(rule.measure for rule in rules):
        if count := measured[name].null_count:
            yield f"{count:,} pairs have no {name}; a rule on it drops none of them"


def _page(
    config: SelectConfig,
    source: MaskSource,
    table: pa.Table,
    rules: list[Rule],
    dropped: dict[str, int],
    calibration: Calibration | None,
    notes: list[str],
) -> bytes:
    """The report, with frames of the pairs at the border of each rule."""
    pairs: Any = table.to_pandas()
    shown = with_border(rules, dropped)
    wanted = {key for rule in shown for keys in border(pairs, rule).values() for key in keys}
    samples = {}
    try:
        samples = {pair.key: sample(pair) for pair in source.some(wanted)}
    except (RvosError, OSError) as error:
        notes = [*notes, f"no frames are shown: {error}"]
    options = {"run": source.uri} | {
        name: value for name, value in asdict(config).items() if name not in ("run", "out", "address")
    }
    return selection_html(
        title=f"Labels of {cut(source.uri.rpartition('/')[2], 80)}",
        pairs=pairs,
        rules=rules,
        dropped=dropped,
        calibration=calibration,
        samples=samples,
        notes=notes,
        provenance=[(name, str(value)) for name, value in options.items() if value and name != "rule"],
    )


def _calibration_lines(found: Calibration) -> list[str]:
    lines = [f"{'labelled':<12}{found.pairs:,} pairs of {found.videos:,} videos, good from J&F {found.good:g} on"]
    for one in found.correlations[:CORRELATIONS_SHOWN]:
        lines.append(f"{'':<12}{one.measure:<20} rank correlation {one.rho:+.3f}  [{one.low:+.3f}, {one.high:+.3f}]")
    if found.rule is None or found.held_out is None:
        return lines
    held = found.held_out
    interval = "" if held.low is None else f" [{held.low:.3f}, {held.high:.3f}]"
    precision = "none" if held.precision is None else f"{held.precision:.3f}{interval}"
    lines.append(f"{'cut':<12}{found.rule}, for a precision of {found.wanted:g}")
    text = f"precision {precision} against {held.good_all:.3f} of all; {held.kept:,} of {held.pairs:,} pairs kept"
    lines.append(f"{'held out':<12}{text}")
    if held.quality_kept is not None:
        lines.append(f"{'':<12}mean J&F {held.quality_kept:.3f} against {held.quality_all:.3f} of all")
    return lines
