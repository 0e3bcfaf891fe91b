"""Sections of a report that compare its scores with a baseline."""

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.grouping import spell_out
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.report.page import number, short_path, signed, truncate
from pipeline.report.pair_plots import PairIds, scatter
from pipeline.report.plots import Plot, PlotAxis, Whisker
from schemas.printable import counted


def change_table(change: dict, metric: str, baseline: str) -> dict:
    """Describe what `rvos compare` found for one folder, as text and as rows of a table."""
    rows = [
        ("all pairs", change),
        *((f"{name}: {spell_out(row['value'])}", row) for name, rows in change["by"].items() for row in rows),
    ]
    ends = [end for _, row in rows for end in (row["low"], row["high"], row["difference"]) if end is not None]
    most = max(1e-3, *(abs(end) for end in ends))
    axis = PlotAxis("change", -most, most)
    text = (
        f"{metric} changed from {number(change['baseline'])} in the baseline {short_path(baseline)} to "
        f"{number(change['value'])}, by {signed(change['difference'])}, over the {counted(change['pairs'], 'pair')} of "
        f"{counted(change['videos'], 'video')} that both have (p {number(change['p'])})."
    )
    if change["smallest"] is None:
        text += " So few videos cannot show a change."
    if change["smallest"] is not None:
        text += f" On these videos, a change of {number(change['smallest'])} would be detected in four of five cases."
    return {
        "metric": metric,
        "text": text,
        "rows": [
            {
                "name": truncate(label, 60),
                "pairs": row["pairs"],
                "difference": row["difference"],
                "interval": "" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}",
                "p": row["p_corrected"],
                "whisker": Whisker(row["difference"], row["low"], row["high"], axis, 0.0),
            }
            for label, row in rows
        ],
    }


def before_and_after(baseline: ScoreFolder, pairs: Any, metric: str, links: Mapping[PairIds, str]) -> Plot:
    """Plot a metric of the pairs that both have, against its value in the baseline."""
    before: Any = baseline.pairs()[[*SCORE_IDS, metric]]
    both = pairs.merge(before.rename(columns={metric: "baseline"}), on=list(SCORE_IDS))
    about = "One dot for each pair. Pairs above the dashed line improved."
    return scatter(both, "baseline", metric, links, key="against", about=about)
