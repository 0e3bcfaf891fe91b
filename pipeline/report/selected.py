"""The page of `rvos select`: kept pairs, the effect of each rule, the value of the cut, and borderline pairs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.report.frame_strips import FrameStrip
from pipeline.report.page import interval, number, render
from pipeline.report.pair_plots import pair_label
from pipeline.report.plots import Line, Mark, Plot, PlotAxis, Point, Table, Whisker
from pipeline.selection.calibration import Calibration
from pipeline.selection.quality_signals import QUALITY_SIGNALS
from pipeline.selection.rules import Rule
from schemas.pair import PairKey
from schemas.printable import counted

RULES_WITH_FRAMES = 6
PAIRS_ON_EACH_SIDE = 3
CORRELATION = PlotAxis("rank correlation", -1, 1)

SelectedPairs = Any  # a pandas.DataFrame with the columns of pairs.parquet; type checkers cannot follow its indexing


def rules_with_frames(rules: Sequence[Rule], dropped: Mapping[str, int]) -> list[Rule]:
    """Return the rules whose border is shown: those that drop pairs, the cut of the calibration first."""
    return [rule for rule in reversed(rules) if dropped.get(str(rule))][:RULES_WITH_FRAMES]


def border(pairs: SelectedPairs, rule: Rule) -> dict[str, list[PairKey]]:
    """Return the kept and the dropped pairs nearest to a bound, one of each video as long as there are others."""
    known = pairs[pairs[rule.measure].notna()]
    known = known.assign(distance=(known[rule.measure] - rule.bound).abs())
    sides = {}
    for side, rows in (("kept", known[known["keep"]]), ("dropped", known[_failing(known, rule)])):
        nearest = rows.sort_values("distance", kind="stable")
        nearest = nearest.assign(nth=nearest.groupby("video_id").cumcount()).sort_values("nth", kind="stable")
        nearest = nearest.head(PAIRS_ON_EACH_SIDE).sort_values("distance", kind="stable")
        sides[side] = [PairKey(*key) for key in zip(nearest["video_id"], nearest["expression_id"], strict=True)]
    return sides


def selection_html(
    *,
    title: str,
    pairs: SelectedPairs,
    rules: Sequence[Rule],
    dropped: Mapping[str, int],
    calibration: Calibration | None,
    strips: Mapping[PairKey, FrameStrip],
    notes: Sequence[str],
    provenance: Sequence[tuple[str, str]],
) -> bytes:
    """Render the page. `dropped` counts pairs by rule; `strips` has the frames of the pairs that `border` names."""
    names = list(dict.fromkeys(map(str, rules)))
    counts = {name: count for name, count in dropped.items() if name not in names}  # pairs without masks
    counts |= {name: dropped.get(name, 0) for name in names}
    signals = {str(rule): QUALITY_SIGNALS[rule.measure] for rule in rules}
    by_key = pairs.set_index(["video_id", "expression_id"])
    borders = []
    for rule in rules_with_frames(rules, dropped):
        cards = {
            side: [_card(by_key.loc[key], key, rule, strips.get(key)) for key in keys]
            for side, keys in border(pairs, rule).items()
        }
        borders.append({"rule": str(rule), "sides": list(cards.items())})
    return render(
        "selection.html.j2",
        title=title,
        tiles=_tiles(pairs, calibration),
        notes=notes,
        rules=[
            (name, signals.get(name, "they failed or were not predicted"), count, count / len(pairs))
            for name, count in counts.items()
        ],
        calibration=calibration,
        curve=None if calibration is None else precision_curve(pairs, calibration),
        correlations=[] if calibration is None else _correlations(calibration),
        borders=borders,
        provenance=provenance,
    )


def precision_curve(pairs: SelectedPairs, found: Calibration) -> Plot:
    """Plot precision and mean J&F of the labelled pairs against the share kept, and the cut on the held-out videos."""
    held, marks, about = found.held_out, [], "No cut reaches the precision wanted on the held-out videos."
    lines = [
        Line("precision", [Point(kept, precision) for kept, precision, _, _ in found.curve]),
        Line("mean J&F", [Point(kept, quality) for kept, _, quality, _ in found.curve], "b"),
        Line("precision wanted", [Point(0, found.wanted), Point(1, found.wanted)], "even"),
    ]
    if found.rule is not None and held is not None:
        labelled = pairs[pairs["quality"].notna()]
        kept = labelled[~_failing(labelled, found.rule)]
        share, precision = len(kept) / len(labelled), float((kept["quality"] >= found.good).mean())
        marks.append(Mark(share, precision, f"cut, {found.rule}: {share:.3f} kept, precision {precision:.3f}", 7))
        about = "Blue dot: the cut on all labelled pairs. It keeps no held-out pair."
        if held.precision is not None:
            text = f"held out: {held.kept} of {counted(held.pairs, 'pair')} kept, precision {held.precision:.3f}"
            marks.append(Mark(held.kept / held.pairs, held.precision, text, 5, "#border"))
            about = "Blue dot: the cut on all labelled pairs. Orange dot: the same cut on the held-out videos."
    rows = [tuple(f"{value:.4g}" for value in point) for point in found.curve]
    return Plot(
        key="curve",
        title=f"Precision against share kept, by {found.measure}",
        about=about,
        x=PlotAxis("share of the labelled pairs that is kept", 0, 1),
        y=PlotAxis("", 0, 1),
        table=Table(("share kept", "precision", "mean J&F", f"bound on {found.measure}"), rows),
        marks=marks,
        lines=lines,
        legend=True,
    )


def _failing(pairs: SelectedPairs, rule: Rule) -> Any:
    """Return the pairs that the rule drops, bool [N]; it keeps a pair without the signal."""
    values = [None if math.isnan(value) else value for value in pairs[rule.measure]]
    return pd.Series([rule.reason({rule.measure: value}) is not None for value in values], pairs.index, dtype=bool)


def _tiles(pairs: SelectedPairs, found: Calibration | None) -> list[dict]:
    kept = int(pairs["keep"].sum())
    share = f"{kept / len(pairs):.1%}" if len(pairs) else ""
    tiles = [{"name": "pairs kept", "value": f"{kept:,}", "more": f"of {len(pairs):,}, {share}"}]
    if found is None or found.held_out is None:
        return tiles
    held = found.held_out
    if held.precision is not None:
        ends = interval((held.low, held.high)) or "no interval"
        tiles.append({"name": "precision, held out", "value": f"{held.precision:.3f}", "more": ends})
    tiles.append({"name": "precision of all, held out", "value": f"{held.good_all:.3f}", "more": "without the cut"})
    if held.quality_kept is not None:
        more = f"{held.quality_all:.3f} for all"
        tiles.append({"name": "mean J&F of kept pairs, held out", "value": f"{held.quality_kept:.3f}", "more": more})
    return tiles


def _correlations(found: Calibration) -> list[dict]:
    rows = []
    for one in found.correlations:
        low, high = (None if math.isnan(end) else end for end in (one.low, one.high))
        rows.append(
            {
                "measure": one.measure,
                "pairs": one.pairs,
                "rho": one.rho,
                "interval": f"{one.low:+.3f} to {one.high:+.3f}".replace("-", "−"),
                "about": QUALITY_SIGNALS[one.measure],
                "whisker": Whisker(one.rho, low, high, CORRELATION, 0.0),
            }
        )
    return rows


def _card(row: Any, key: PairKey, rule: Rule, strip: FrameStrip | None) -> dict:
    figures = [f"{rule.measure} {row[rule.measure]:.4g}"]
    if not math.isnan(row["quality"]):
        figures.append(f"J&F {number(row['quality'])}")
    return {
        "name": pair_label((key.video_id, key.expression_id, "", "")),
        "figures": " · ".join(figures),
        "reason": "" if row["keep"] else row["reason"],
        "strip": strip,
    }
