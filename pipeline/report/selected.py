"""The page of `rvos select`: what was kept by which rules, what the cut is worth, and pairs on both sides of it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from pipeline.report.page import cut, interval, number, render
from pipeline.report.plots import Axis, Line, Mark, Plot, Point, Table, Whisker
from pipeline.report.samples import Sample
from pipeline.selection.calibration import Calibration
from pipeline.selection.quality_signals import MEASURES
from pipeline.selection.rules import Rule
from schemas.pair import PairKey

RULES_SHOWN = 6  # with samples
SHOWN = 3  # pairs on each side of a rule
CORRELATION = Axis("rank correlation", -1, 1)

Rows = Any  # a pandas.DataFrame of PAIRS; what indexing one gives has no type that a checker can follow


def with_border(rules: Sequence[Rule], dropped: Mapping[str, int]) -> list[Rule]:
    """The rules whose border is shown: those that drop something, the cut of the calibration first."""
    return [rule for rule in reversed(rules) if dropped.get(str(rule))][:RULES_SHOWN]


def border(pairs: Rows, rule: Rule) -> dict[str, list[PairKey]]:
    """Kept pairs and pairs that the rule drops, nearest to its bound, one of each video as long as there are others."""
    known = pairs[pairs[rule.measure].notna()]
    known = known.assign(distance=(known[rule.measure] - rule.bound).abs())
    return {"kept": _nearest(known[known["keep"]]), "dropped": _nearest(known[_fails(known, rule)])}


def _nearest(pairs: Rows) -> list[PairKey]:
    ranked = pairs.sort_values("distance", kind="stable")
    ranked = ranked.assign(nth=ranked.groupby("video_id").cumcount()).sort_values("nth", kind="stable").head(SHOWN)
    ranked = ranked.sort_values("distance", kind="stable")
    return list(ranked[["video_id", "expression_id"]].itertuples(index=False, name=None))


def selection_html(
    *,
    title: str,
    pairs: Rows,
    rules: Sequence[Rule],
    dropped: Mapping[str, int],
    calibration: Calibration | None,
    samples: Mapping[PairKey, Sample],
    notes: Sequence[str],
    provenance: Sequence[tuple[str, str]],
) -> bytes:
    """The page. `dropped` counts pairs by rule, `samples` are those of the pairs that `border` names."""
    return render(
        "selection.html.j2",
        title=title,
        tiles=_tiles(pairs, calibration),
        notes=notes,
        rules=[
            (
                name,
                MEASURES.get(name.partition(" ")[0], "they failed, or were not predicted"),
                count,
                count / len(pairs),
            )
            for name, count in _counted(rules, dropped)
        ],
        calibration=calibration,
        curve=None if calibration is None else curve(pairs, calibration),
        correlations=[] if calibration is None else _correlations(calibration),
        borders=[_border(pairs, rule, samples) for rule in with_border(rules, dropped)],
        provenance=provenance,
    )


def curve(pairs: Rows, found: Calibration) -> Plot:
    """Precision and mean quality of the labelled pairs against the share kept, and what the cut did on the held-out."""
    held, marks, about = found.held_out, [], "No cut reaches the precision wanted."
    lines = [
        Line("precision", [Point(kept, precision) for kept, precision, _, _ in found.curve]),
        Line("mean J&F", [Point(kept, quality) for kept, _, quality, _ in found.curve], "b"),
        Line("precision wanted", [Point(0, found.wanted), Point(1, found.wanted)], "even"),
    ]
    if found.rule is not None and held is not None:
        marks.append(_cut_mark(pairs, found.rule, found.good))
        about = "The blue dot is the cut on all labelled pairs. No held-out pair passes it."
        if held.precision is not None:
            share = held.kept / held.pairs
            text = f"held out: {held.kept} of {held.pairs} pairs kept, precision {held.precision:.3f}"
            marks.append(Mark(share, held.precision, text, 5, "#border"))
            about = "Blue dot: the cut on all labelled pairs. Orange dot: the same cut on the held-out half."
    rows = [tuple(f"{value:.4g}" for value in point) for point in found.curve]
    return Plot(
        key="curve",
        title=f"Precision against share kept, by {found.measure}",
        about=about,
        x=Axis("share of the labelled pairs that is kept", 0, 1),
        y=Axis("", 0, 1),
        table=Table(("share kept", "precision", "mean J&F", f"bound on {found.measure}"), rows),
        marks=marks,
        lines=lines,
        legend=True,
    )


def _cut_mark(pairs: Rows, rule: Rule, good: float) -> Mark:
    labelled = pairs[pairs["quality"].notna()]
    kept = labelled[~_fails(labelled, rule)]
    share, precision = len(kept) / len(labelled), float((kept["quality"] >= good).mean())
    return Mark(share, precision, f"cut, {rule}: {share:.3f} kept, precision {precision:.3f}", 7)


def _fails(pairs: Rows, rule: Rule) -> Any:
    """Which pairs the rule drops; never one that lacks the measure."""
    values = [None if math.isnan(value) else value for value in pairs[rule.measure]]
    return pd.Series([rule.reason({rule.measure: value}) is not None for value in values], pairs.index, dtype=bool)


def _tiles(pairs: Rows, found: Calibration | None) -> list[dict]:
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
        more = f"against {held.quality_all:.3f} of all"
        tiles.append({"name": "mean J&F of the kept, held out", "value": f"{held.quality_kept:.3f}", "more": more})
    return tiles


def _counted(rules: Sequence[Rule], dropped: Mapping[str, int]) -> list[tuple[str, int]]:
    """Every rule with how many pairs it drops, after the pairs that have no masks."""
    named = {str(rule) for rule in rules}
    return [(name, count) for name, count in dropped.items() if name not in named] + [
        (name, dropped.get(name, 0)) for name in dict.fromkeys(map(str, rules))
    ]


def _correlations(found: Calibration) -> list[dict]:
    return [
        {
            "measure": one.measure,
            "pairs": one.pairs,
            "rho": one.rho,
            "interval": f"{one.low:+.3f} to {one.high:+.3f}".replace("-", "−"),
            "about": MEASURES[one.measure],
            "whisker": Whisker(one.rho, _known(one.low), _known(one.high), CORRELATION, 0.0),
        }
        for one in found.correlations
    ]


def _known(value: float) -> float | None:
    return None if value != value else value


def _border(pairs: Rows, rule: Rule, samples: Mapping[PairKey, Sample]) -> dict:
    found = border(pairs, rule)
    rows = pairs.set_index(["video_id", "expression_id"])
    return {
        "rule": str(rule),
        "sides": [(side, [_card(rows.loc[key], key, rule, samples.get(key)) for key in found[side]]) for side in found],
    }


def _card(row: Any, key: PairKey, rule: Rule, shown: Sample | None) -> dict:
    figures = [f"{rule.measure} {row[rule.measure]:.4g}"]
    if _known(row["quality"]) is not None:
        figures.append(f"J&F {number(row['quality'])}")
    return {
        "name": f"{cut(key[0], 60)} · {cut(key[1], 60)}",
        "figures": " · ".join(figures),
        "reason": "" if row["keep"] else row["reason"],
        "sample": shown,
    }
