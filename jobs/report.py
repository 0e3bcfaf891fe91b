"""`rvos report`: one set of scores as a page that works offline."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from jobs import compare
from jobs.config.report import ReportConfig
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.attributes import Grouping
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io import storage
from pipeline.masks.requested import MaskKey
from pipeline.report import difference, heat_map, pair_plots
from pipeline.report.over_time import over_time, tracks
from pipeline.report.page import cut, number, render
from pipeline.report.pair_plots import PairIds, extremes, name
from pipeline.report.plots import Plot, Table
from pipeline.report.strips import Overlays, Strip
from schemas.errors import InputError, RvosError

BEST, WORST, CHANGED = 4, 8, 4  # pairs with frames; CHANGED in each direction
UNSCORED = 100  # pairs named in the page
NOT_SCORED = ("failed", "missing", "misshaped", "incomplete")


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """The page. `pictures` are frames in it; `notes` say what it lacks."""

    page: str
    bytes: int
    pictures: int
    notes: list[str]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [f"report  {self.page}", f"size    {self.bytes / 1e6:.1f} MB, {self.pictures} frames shown"]
        for note in self.notes:
            lines += textwrap.wrap(note, 80, initial_indent="note    ", subsequent_indent=" " * 8)
        return "\n".join(lines)


def run(config: ReportConfig) -> ReportResult:
    """Write report.html into `config.out`. Raises InputError if there are no scores, or those of `against` differ."""
    scored = ScoreFolder.open(config.scores)
    pairs = scored.pairs()
    known = tracks(scored)
    pairs = pairs.join(known["frames"], on=list(SCORE_IDS))
    change = compared = None
    if config.against is not None:
        compared = compare.run(compare.CompareConfig(scores=(config.against, config.scores), by=_common(config)))
        change = compared.comparisons[0]
    main = scored.metrics[0]
    if main not in pairs:
        raise InputError(
            f"{scored.folder}: scores.parquet has no {main}, which summary.json has; repeat 'rvos evaluate'"
        )
    galleries = _galleries(pairs, main, change)
    strips, notes = _strips(config, scored, [key for _, keys in galleries for key in keys], change is not None)
    links = {key: f"#pair-{n}" for n, key in enumerate(dict.fromkeys(key for _, keys in galleries for key in keys))}
    summary = scored.summary
    plots = _plots(scored, pairs, known, main, links)
    if config.against is not None:
        plots.insert(0, difference.before_and_after(config.against, pairs, main, links))
    shown = [(heading, [_card(key, links[key], pairs, strips, scored) for key in keys]) for heading, keys in galleries]
    metrics = heat_map.metric_columns(scored)
    unscored = _unscored(summary)
    content: dict[str, Any] = {
        "title": f"Scores of {cut(scored.folder.rpartition('/')[2], 80)}",
        "summary": summary,
        "protocol": scored.protocol,
        "pairs": len(pairs),
        "headline": heat_map.headline(scored),
        "counts": _counts(summary),
        "notes": [*summary.get("warnings", []), *(compared.warnings if compared else []), *notes],
        "change": change and difference.change_table(change, main),
        "attributes": heat_map.attributes(scored, pairs, metrics),
        "step": heat_map.STEP,
        "metrics": metrics,
        "plots": plots,
        "galleries": shown,
        "provenance": _provenance(summary),
        "unscored": unscored,
        "unscored_table": Table(("pair", "what", "why"), unscored),
    }
    content["sections"] = [
        (id, text)
        for id, text in (
            ("means", "Means"), ("change", "Against the baseline"), ("attributes", "By attribute"),
            ("plots", "Pairs"), ("frames", "Frames"), ("provenance", "Provenance"),
        )
        if content.get(id, True)
    ]  # fmt: skip
    html = render("report.html.j2", **content)
    page = storage.join(storage.absolute(config.out), "report.html")
    storage.write_bytes(page, html)
    pictures = sum(len(strip.tiles) for of in strips.values() for _, strip in of)
    return ReportResult(page=page, bytes=len(html), pictures=pictures, notes=notes)


def _galleries(pairs: Any, main: str, change: dict | None) -> list[tuple[str, list[PairIds]]]:
    """Headings, and the pairs below each; every pair stands under the first that has it."""
    found: list[tuple[str, list[PairIds]]] = []
    if change is not None:
        for heading, side in (("Gained most", "risen"), ("Lost most", "fallen")):
            found.append((heading, _spread([_ids(pair) for pair in change[side]])[:CHANGED]))
    worst = min(WORST, -(-2 * len(pairs) // 3))  # of few pairs, some are left to be the best
    found.append((f"Lowest {main}", extremes(pairs, main, worst, highest=False)))
    found.append((f"Highest {main}", extremes(pairs, main, min(BEST, len(pairs) - worst), highest=True)))
    seen: set[PairIds] = set()
    once = []
    for heading, keys in found:
        once.append((heading, [key for key in keys if key not in seen]))
        seen.update(keys)
    return once


def _spread(keys: Sequence[PairIds]) -> list[PairIds]:
    """At most two of a video as long as there are others."""
    seen: Counter[str] = Counter()
    rank = {}
    for key in keys:
        rank[key] = seen[key[0]] // 2
        seen[key[0]] += 1
    return sorted(keys, key=rank.__getitem__)


def _ids(pair: dict) -> PairIds:
    return tuple(pair.get(id, "") for id in SCORE_IDS)


def _pair_key(key: PairIds) -> MaskKey:
    video, expression, thing, _ = key
    return video, expression or thing


def _strips(
    config: ReportConfig, scored: ScoreFolder, wanted: Sequence[PairIds], against: bool
) -> tuple[dict[PairIds, list[tuple[str, Strip]]], list[str]]:
    """Strips of each pair with the name of the scores that they are of, and what could not be shown."""
    pair_keys = list(dict.fromkeys(_pair_key(key) for key in wanted))
    options = {name: getattr(config, name) for name in ("predictions", "annotations", "manifest", "media")}
    found: dict[MaskKey, list[tuple[str, Strip]]] = {key: [] for key in pair_keys}
    notes = []
    own: dict[MaskKey, Strip] = {}
    try:
        own = Overlays.open(scored, **options).strips(pair_keys)
        for key, strip in own.items():
            found[key].append(("these scores" if against else "", strip))
    except (RvosError, OSError) as error:
        notes.append(f"no frames are shown: {error}")
    if config.against is not None:
        options |= {"predictions": None}
        try:
            baseline = Overlays.open(ScoreFolder.open(config.against), **options)
            for key, strip in baseline.strips(pair_keys, same=own).items():
                found[key].append(("baseline", strip))
        except (RvosError, OSError) as error:
            notes.append(f"no frames of the baseline are shown: {error}")
    return {key: found[_pair_key(key)] for key in wanted}, notes


def _card(key: PairIds, link: str, pairs: Any, strips: dict, scored: ScoreFolder) -> dict:
    of: list[tuple[str, Strip]] = []
    for label, strip in strips[key]:  # what is wrong with the video is said once
        of.append((label, replace(strip, note="") if any(strip.note == there.note for _, there in of) else strip))
    row = pairs.set_index(list(SCORE_IDS)).loc[[key]].iloc[0]
    figures = [
        f"{metric} {number(row[metric])}" for metric in scored.metrics if metric in row and row[metric] == row[metric]
    ]
    if row["frames"] == row["frames"]:
        figures.append(f"{int(row['frames'])} frames")
    return {
        "id": link[1:],
        "name": name(key),
        "expression": next((strip.expression for _, strip in of if strip.expression), ""),
        "figures": " · ".join(figures),
        "strips": of,
    }


def _plots(scored: ScoreFolder, pairs: Any, known: Any, main: str, links: dict[PairIds, str]) -> list[Plot]:
    plots = [pair_plots.histogram(pairs, main)]
    if "J" in pairs and "F" in pairs:
        about = "A dot for each pair. Below the dashed line the contour is worse than the area."
        plots.append(pair_plots.scatter(pairs, "J", "F", links, key="j-f", about=about))
    found = [
        over_time(scored, known),
        pair_plots.by_number(scored, pairs, "frames", "scored frames", links),
        pair_plots.by_number(scored, pairs, "words", "words of the expression", links),
        pair_plots.by_number(scored, pairs, "object_size", "size of the object, as a share of the frame", links),
    ]
    return plots + [plot for plot in found if plot is not None]


def _common(config: ReportConfig) -> tuple[str, ...]:
    """The breakdowns of these scores that the baseline can have too."""
    by = ScoreFolder.open(config.scores).summary.get("by") or {}
    there = set(ScoreFolder.open(config.against or "").table().columns)
    return tuple(text for text in by if all(column.name in there for column in Grouping.parse(text).columns))


def _counts(summary: dict) -> str:
    told = ", ".join(f"{count} {kind}" for kind, count in summary["pairs"].items() if count or kind == "scored")
    frames, missing = summary["frames"]["scored"], summary["frames"]["missing"]
    return f"Pairs: {told}. Frames: {frames}{f', {missing} of them not predicted' if missing else ''}."


def _unscored(summary: dict) -> list[tuple[str, str, str]]:
    return [
        (
            cut(f"{pair.get('video_id')} · {pair.get('expression_id') or pair.get('object_id')}", 100),
            kind,
            cut(pair.get("error") or "", 200),
        )
        for kind in NOT_SCORED
        for pair in summary.get(f"{kind}_pairs", [])
    ][:UNSCORED]


def _provenance(summary: dict) -> list[tuple[str, str]]:
    rows = [
        ("predictions", summary.get("predictions")),
        ("annotations", summary.get("annotations")),
        ("manifest", summary.get("manifest")),
        ("run", summary.get("run_fingerprint")),
        ("hash of the truth", summary.get("truth_hash")),
        ("hash of the predictions", summary.get("predictions_hash")),
        ("missing", summary.get("missing_rule")),
        ("rvos", summary.get("version")),
    ]
    return [(term, str(text)) for term, text in rows if text is not None]
