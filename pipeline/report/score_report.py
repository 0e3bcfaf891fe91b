"""The page of `rvos report`: means, change from a baseline, attributes, plots, and frames of selected pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.scoring.score_pairs import NOT_PREDICTED
from pipeline.evaluation.summary.intervals import METHOD
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.masks.pairs_to_score import MaskKey
from pipeline.report import difference, heat_map, pair_plots
from pipeline.report.frame_strips import FrameStrip
from pipeline.report.over_time import frame_spans, over_time
from pipeline.report.page import interval, interval_of, number, render, short_path, truncate
from pipeline.report.pair_plots import PairIds, extremes, pair_label, spread_over_videos
from pipeline.report.plots import UNIT, Plot, Table, Whisker
from pipeline.report.scored_frames import ScoredFrames
from schemas.errors import InputError, RvosError
from schemas.printable import counted

BEST, WORST, CHANGED = 4, 8, 4  # pairs with frames; CHANGED in each direction
UNSCORED_LISTED = 100
UNSCORED = (*NOT_PREDICTED, "incomplete")
PROVENANCE = {  # name in summary.json -> term in the page
    "predictions": "predictions",
    "annotations": "annotations",
    "manifest": "manifest",
    "run_fingerprint": "run",
    "truth_hash": "hash of the annotations",
    "predictions_hash": "hash of the predictions",
    "missing_rule": "missing",
    "version": "rvos",
}
SECTIONS = {  # id -> title
    "means": "Means",
    "change": "Change from the baseline",
    "attributes": "By attribute",
    "plots": "Pairs",
    "frames": "Frames",
    "provenance": "Provenance",
}

LabelledStrips = list[tuple[str, FrameStrip]]  # the strips of one pair, each with the name of its scores


@dataclass(frozen=True, slots=True)
class ScoreReport:
    """A page, the number of frames in it, its plots, and notes on frames that could not be shown."""

    html: bytes
    thumbnails: int
    plots: list[Plot]
    notes: list[str]


def build_report(
    scored: ScoreFolder,
    sources: Mapping[str, str | None],
    origin: Sequence[tuple[str, str]],
    baseline: ScoreFolder | None = None,
    change: dict | None = None,
    warnings: Sequence[str] = (),
    *,
    made_of: str = "",
    allow_local: bool = False,
) -> ScoreReport:
    """Build the page of `scored`.

    sources: where predictions, annotations, manifest and media are now, None: where they were scored. origin: how the
    page came about, as terms and texts. made_of: see `made_of_line`. allow_local: open what remote scores name on this
    machine. change, warnings: the comparison with `baseline`, of `rvos compare`. Raises InputError if the tables lack
    what the summary has.
    """
    pairs: Any = scored.pairs()
    spans = frame_spans(scored)
    pairs = pairs.join(spans["frames"], on=list(SCORE_IDS))
    main = scored.metrics[0]
    if main not in pairs:
        text = f"scores.parquet lacks the metric {main}, which summary.json has"
        raise InputError(f"{scored.folder}: {text}; run 'rvos evaluate' again")
    galleries = _galleries(pairs, main, change)
    wanted = [ids for gallery in galleries.values() for ids in gallery]
    links = {ids: f"#pair-{n}" for n, ids in enumerate(wanted)}
    strips, notes = _draw_strips(scored, baseline, sources, wanted, allow_local=allow_local)
    plots = _plots(scored, pairs, spans, main, links)
    if baseline is not None:
        plots.insert(0, difference.before_and_after(baseline, pairs, main, links))
    metrics = [metric for metric in scored.metrics if metric != "mAP"][: heat_map.MOST_METRICS]
    content: dict[str, Any] = _summary_content(scored)
    content["provenance"] += origin
    content |= {
        "title": f"{main} report: {short_path(scored.folder)}",
        "made_of": made_of,
        "pairs": len(pairs),
        "notes": [*scored.summary.get("warnings", []), *warnings, *notes],
        "change": None,
        "attributes": heat_map.attribute_tables(scored, pairs, metrics),
        "step": heat_map.COLOUR_STEP,
        "metrics": metrics,
        "method": METHOD,
        "plots": plots,
        "galleries": [
            (heading, [_card(ids, links[ids], pairs, strips[ids], scored.metrics) for ids in gallery])
            for heading, gallery in galleries.items()
        ],
    }
    if baseline is not None and change is not None:
        content["change"] = difference.change_table(change, main, baseline.folder)
    content["sections"] = [(name, title) for name, title in SECTIONS.items() if content.get(name, True)]
    thumbnails = sum(len(strip.thumbnails) for of_pair in strips.values() for _, strip in of_pair)
    return ScoreReport(render("report.html.j2", **content), thumbnails, plots, notes)


def _galleries(pairs: Any, main: str, change: dict | None) -> dict[str, list[PairIds]]:
    """Choose the pairs whose frames are shown, by heading; a pair is under the first heading that applies."""
    chosen: dict[str, list[PairIds]] = {}
    if change is not None:
        for heading, side in (("Improved most", "risen"), ("Declined most", "fallen")):
            ids = [tuple(pair.get(name, "") for name in SCORE_IDS) for pair in change[side]]
            chosen[heading] = spread_over_videos(ids)[:CHANGED]
    worst = min(WORST, -(-2 * len(pairs) // 3))  # of few pairs, some are left for the highest
    chosen[f"Lowest {main}"] = extremes(pairs, main, worst, highest=False)
    chosen[f"Highest {main}"] = extremes(pairs, main, min(BEST, len(pairs) - worst), highest=True)
    seen: set[PairIds] = set()
    for heading, ids in chosen.items():
        chosen[heading] = [one for one in dict.fromkeys(ids) if one not in seen]
        seen.update(ids)
    return chosen


def _draw_strips(
    scored: ScoreFolder,
    baseline: ScoreFolder | None,
    sources: Mapping[str, str | None],
    wanted: Sequence[PairIds],
    *,
    allow_local: bool,
) -> tuple[dict[PairIds, LabelledStrips], list[str]]:
    """Draw the strips of each pair, of these scores and of the baseline; note why frames are not shown."""
    keys: dict[PairIds, MaskKey] = {ids: (ids[0], ids[1] or ids[2]) for ids in wanted}
    found: dict[MaskKey, LabelledStrips] = {key: [] for key in keys.values()}
    notes = []
    own: dict[MaskKey, FrameStrip] = {}
    try:
        own = ScoredFrames.open(scored, **sources, allow_local=allow_local).strips(list(found))
    except (RvosError, OSError) as error:
        notes.append(f"frames cannot be shown: {error}")
    for key, strip in own.items():
        found[key].append(("" if baseline is None else "these scores", strip))
    if baseline is not None:
        try:
            frames = ScoredFrames.open(baseline, **{**sources, "predictions": None}, allow_local=allow_local)
            for key, strip in frames.strips(list(found), like=own).items():
                found[key].append(("baseline", strip))
        except (RvosError, OSError) as error:
            notes.append(f"frames of the baseline cannot be shown: {error}")
    return {ids: found[key] for ids, key in keys.items()}, notes


def _card(ids: PairIds, link: str, pairs: Any, strips: LabelledStrips, metrics: Sequence[str]) -> dict:
    shown: LabelledStrips = []
    for label, strip in strips:
        repeated = any(strip.note == other.note for _, other in shown)  # a problem of the video is shown once
        shown.append((label, replace(strip, note="") if repeated else strip))
    row = pairs.set_index(list(SCORE_IDS)).loc[[ids]].iloc[0]
    figures = [f"{metric} {number(row[metric])}" for metric in metrics if metric in row and row[metric] == row[metric]]
    if row["frames"] == row["frames"]:
        figures.append(counted(int(row["frames"]), "frame"))
    return {
        "id": link.removeprefix("#"),
        "name": pair_label(ids),
        "expression": next((strip.expression for _, strip in shown if strip.expression), ""),
        "figures": " · ".join(figures),
        "strips": shown,
    }


def _plots(scored: ScoreFolder, pairs: Any, spans: Any, main: str, links: Mapping[PairIds, str]) -> list[Plot]:
    plots = [pair_plots.histogram(pairs, main)]
    if "J" in pairs and "F" in pairs:
        about = "One dot for each pair. Below the dashed line, the contour is worse than the area."
        plots.append(pair_plots.scatter(pairs, "J", "F", links, key="j-f", about=about))
    optional = [
        over_time(scored, pairs, spans),
        pair_plots.by_number(scored, pairs, "frames", "scored frames", links),
        pair_plots.by_number(scored, pairs, "words", "words of the expression", links),
        pair_plots.by_number(scored, pairs, "object_size", "size of the object, as a share of the frame", links),
    ]
    return plots + [plot for plot in optional if plot is not None]


def _summary_content(scored: ScoreFolder) -> dict[str, Any]:
    """Return the parts of the page that follow from the summary alone."""
    summary = scored.summary
    counts = ", ".join(f"{count} {kind}" for kind, count in summary["pairs"].items() if count or kind == "scored")
    frames, missing = summary["frames"]["scored"], summary["frames"]["missing"]
    unscored = []
    for status in UNSCORED:
        for pair in summary.get(f"{status}_pairs", []):
            name = pair_label(tuple(pair.get(name, "") for name in SCORE_IDS))
            unscored.append((name, status, truncate(pair.get("error") or "", 200)))
    unscored = unscored[:UNSCORED_LISTED]
    tiles = []
    for metric in scored.metrics:
        value, low, high = summary["overall"][metric], *interval_of(summary["overall"], metric)
        within = all(end is not None and 0 <= end <= 1 for end in (value, low, high))
        whisker = Whisker(value, low, high, UNIT) if within else None
        tile = {"metric": metric, "value": number(value), "interval": interval((low, high)), "whisker": whisker}
        tiles.append(tile)
    return {
        "summary": summary,
        "protocol": scored.protocol,
        "headline": tiles,
        "counts": f"Pairs: {counts}. Frames: {frames}{f', {missing} of them not predicted' if missing else ''}.",
        "provenance": [(PROVENANCE[name], str(summary[name])) for name in PROVENANCE if summary.get(name) is not None],
        "unscored": unscored,
        "unscored_table": Table(("pair", "status", "reason"), unscored),
    }
