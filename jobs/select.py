"""`rvos select`: measure the quality of every pair of a run, and decide which pairs to keep as training labels."""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs import evaluate
from jobs.config.evaluate import EvaluateConfig
from jobs.config.select import SelectConfig
from jobs.origin import origin_of
from jobs.result import JobResult
from pipeline.cluster.tasks import run_tasks
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.io import output_folder, parquet, storage
from pipeline.io.manifest import as_named
from pipeline.masks.by_video import PAIR_ORDER, MaskSource
from pipeline.report.frame_strips import pair_strip
from pipeline.report.page import short_path
from pipeline.report.selected import border, precision_curve, rules_with_frames, selection_html
from pipeline.report.svg_file import write_plots
from pipeline.selection.calibration import Calibration, calibrate
from pipeline.selection.decisions import WITHOUT_MASKS, collect_pairs, decide, missing_signal_notes
from pipeline.selection.quality_signals import OF_OTHER_RUNS
from pipeline.selection.rules import Rule, read_rules
from pipeline.selection.signal_tasks import measure_task, plan_signal_tasks
from schemas.errors import InputError, RvosError
from schemas.pair import PairKey
from schemas.printable import counted, one_line
from schemas.shown import shown_json

LOCAL_MASKS = 20_000  # with more masks a local Ray cluster is started, unless --address is given
CORRELATIONS_SHOWN = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectResult(JobResult):
    """Numbers of kept pairs, and of dropped pairs by rule; a pair that fails several rules counts for each."""

    out: str
    report: str
    pairs: int
    kept: int
    dropped: dict[str, int]
    rules: list[str]
    calibration: Calibration | None
    notes: list[str]

    def text(self) -> str:
        lines = [f"{'out':<12}{self.out}", f"{'report':<12}{self.report}"]
        lines += [f"{'pairs':<12}{self.pairs:,}", f"{'kept':<12}{self.kept:,}"]
        for rule, count in self.dropped.items():
            lines.append(f"{'dropped':<12}{count:,}  {rule if rule == WITHOUT_MASKS else f'not {rule}'}")
        if self.calibration:
            lines += _calibration_lines(self.calibration)
        return "\n".join([*lines, *(f"{'note':<12}{one_line(note)}" for note in self.notes)])


def run(config: SelectConfig) -> SelectResult:
    """Write pairs.parquet (every pair), manifest.parquet (the kept ones), summary.json and report.html to OUT.

    Memory is the manifest and about 1 KB for each pair. Raises InputError for broken masks and invalid rules.
    """
    rules = read_rules(config.rule, config.rules)
    source = MaskSource.open(config.run, config.manifest, allow_local=config.allow_local)
    against = [MaskSource.open(other) for other in config.against]
    out = storage.absolute(config.out)
    output_folder.require_outside(out, source.uri)
    for name in (config.measure, *(rule.measure for rule in rules)):
        if len(against) < OF_OTHER_RUNS.get(name or "", 0):
            runs = "another run; name that run" if name == "other_run" else "several runs; name at least two"
            raise InputError(f"{name} is the agreement with {runs} with --against")
    if len({other.uri for other in against}) < len(against):
        raise InputError("the same run is given twice by --against; name each once")
    if source.uri in (other.uri for other in against):
        raise InputError(f"--against {source.uri} is RUN itself, with which it agrees wholly; name another run")
    tasks, masks = plan_signal_tasks(source, against)
    made_of = json.loads(json.dumps({"form": "select", **asdict(config), "out": None, "address": None}))
    del made_of["svg"]  # decides nothing else in the folder
    if len(config.against) < 2:  # as folders say that were made when there could be one
        made_of["against"] = next(iter(config.against), None)
    with output_folder.filling(out, made_of) as counts:
        measure = functools.partial(measure_task, with_manifest=source.manifest is not None)
        pairs = collect_pairs(run_tasks(measure, tasks, address=config.address, large=masks > LOCAL_MASKS))
        result = _write(config, source, pairs, rules, out)
        counts |= {"pairs": result.pairs, "kept": result.kept}
    return result


def _write(config: SelectConfig, source: MaskSource, pairs: pa.Table, rules: list[Rule], out: str) -> SelectResult:
    """Decide which of `pairs`, a row for each with its signals, are kept, and write the folder `out`."""
    calibration, notes = None, []
    if config.calibrate is not None:
        pairs, calibration, notes = _calibrate(config, pairs, storage.join(out, "calibration"))
        rules += [calibration.rule] if calibration.rule else []
    pairs, dropped = decide(pairs, rules)
    notes += missing_signal_notes(pairs, rules)
    parquet.write_table(storage.join(out, "pairs.parquet"), pairs)
    if source.manifest is None:
        notes.append("manifest.parquet was not written, since the manifest is unknown; give it with --manifest")
    else:
        ordered = source.manifest.sort_by(PAIR_ORDER)
        at = ordered.column_names.index("video_uri")
        ordered = ordered.set_column(at, "video_uri", as_named(ordered["video_uri"]))
        parquet.write_table(storage.join(out, "manifest.parquet"), ordered.filter(pairs["keep"].combine_chunks()))
    result = SelectResult(
        out=out,
        report=storage.join(out, "report.html"),
        pairs=len(pairs),
        kept=int(pc.sum(pairs["keep"]).as_py() or 0),
        dropped=dropped,
        rules=[str(rule) for rule in rules],
        calibration=calibration,
        notes=notes,
    )
    storage.write_bytes(result.report, _page(config, source, pairs, rules, result))
    if config.svg and calibration is not None:
        write_plots([precision_curve(pairs.to_pandas(), calibration)], storage.join(out, "plots"), f"run {source.uri}")
    document = shown_json(result.to_json(), allow_nan=False) + "\n"
    storage.write_bytes(storage.join(out, "summary.json"), document.encode())
    return result


def _calibrate(config: SelectConfig, pairs: pa.Table, out: str) -> tuple[pa.Table, Calibration, list[str]]:
    """Score the pairs with annotations into the folder `out`; return pairs with quality, calibration and notes."""
    options = {"predictions": config.run, "annotations": config.calibrate or "", "manifest": config.manifest}
    try:
        scored = evaluate.run(EvaluateConfig(**options, out=out, missing="skip", address=config.address))
        records: list[dict] = scored.pairs.to_dict("records")
        quality = {PairKey.of(row): row["J&F"] for row in records}
        values = pa.array([quality.get(key) for key in PairKey.of_all(pairs)], pa.float64())
        pairs = pairs.set_column(pairs.column_names.index("quality"), "quality", values)
        labelled: Any = pairs.to_pandas()
        labelled = labelled[labelled["quality"].notna()].reset_index()
        calibration = calibrate(labelled, config.good, config.precision, config.measure)
    except InputError:
        storage.remove_folder(out)  # the corrected command must not find scores of another one
        raise
    notes = []
    if lost := {status: count for status in NOT_PREDICTED if (count := scored.summary["pairs"][status])}:
        counts = ", ".join(f"{count:,} {status}" for status, count in lost.items())
        notes.append(f"labelled pairs without J&F: {sum(lost.values()):,} ({counts}); see {out}/summary.json")
    if calibration.rule is None:
        promise = f"a precision of {config.precision:g} with {100 * calibration.confidence:.0f} % confidence"
        text = f"no cut of {calibration.measure} reaches {promise} on the held-out videos, so none was applied"
        notes.append(f"{text}; {_way_out(calibration)}")
    return pairs, calibration, notes


def _way_out(found: Calibration) -> str:
    if found.videos_needed is None:
        return "more labels do not seem to help, so try another --measure, or a lower --precision or --good"
    text = f"about {found.videos_needed:,} labelled videos are probably needed for one, and you have {found.videos:,}"
    return f"{text}; label more, or try a lower --precision"


def _page(
    config: SelectConfig, source: MaskSource, pairs: pa.Table, rules: Sequence[Rule], result: SelectResult
) -> bytes:
    """Render the report, with frames of the pairs next to the bound of each rule."""
    table: Any = pairs.to_pandas()
    shown = [border(table, rule) for rule in rules_with_frames(rules, result.dropped)]
    wanted = {key for sides in shown for keys in sides.values() for key in keys}
    strips, notes = {}, result.notes
    try:
        strips = {pair.key: pair_strip(pair) for pair in source.some(wanted)}
    except (RvosError, OSError) as error:
        notes = [*notes, f"frames cannot be shown: {error}"]
    hidden = ("run", "out", "address", "rule", "svg")
    options = {name: value for name, value in asdict(config).items() if value and name not in hidden}
    return selection_html(
        title=f"Label selection: {short_path(source.uri)}",
        pairs=table,
        rules=rules,
        dropped=result.dropped,
        calibration=result.calibration,
        strips=strips,
        notes=notes,
        provenance=[
            ("run", source.uri),
            *((name, str(value)) for name, value in options.items()),
            *origin_of("select", config),
        ],
    )


def _calibration_lines(found: Calibration) -> list[str]:
    lines = [
        f"{'labelled':<12}{counted(found.pairs, 'pair', ',')} of {counted(found.videos, 'video', ',')}, good if J&F is "
        f"at least {found.good:g}"
    ]
    for one in found.correlations[:CORRELATIONS_SHOWN]:
        lines.append(f"{'':<12}{one.measure:<20} rank correlation {one.rho:+.3f}  [{one.low:+.3f}, {one.high:+.3f}]")
    if found.rule is None or found.held_out is None:
        return lines
    held = found.held_out
    interval = "" if held.low is None else f" [{held.low:.3f}, {held.high:.3f}]"
    precision = "unknown" if held.precision is None else f"{held.precision:.3f}{interval}"
    lines.append(
        f"{'cut':<12}{found.rule}, for a precision of {found.wanted:g} with {100 * found.confidence:.0f} % confidence"
    )
    text = f"precision {precision}, {held.good_all:.3f} without the cut; {held.kept:,} of {held.pairs:,} pairs kept"
    lines.append(f"{'held out':<12}{text}")
    if held.quality_kept is not None:
        lines.append(f"{'':<12}mean J&F {held.quality_kept:.3f}, {held.quality_all:.3f} without the cut")
    return lines
