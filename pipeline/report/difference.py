"""What changed against a baseline."""

from collections.abc import Mapping
from typing import Any

from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.attributes import spell_out
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.report.page import cut, number, signed
from pipeline.report.pair_plots import PairIds, scatter
from pipeline.report.plots import Axis, Plot, Whisker


def change_table(change: dict, main: str) -> dict:
    """What `rvos compare` says of one folder, as text and as rows of a table."""
    rows = [
        ("all pairs", change),
        *((f"{of}: {spell_out(row['value'])}", row) for of, rows in change["by"].items() for row in rows),
    ]
    ends = [end for _, row in rows for end in (row["low"], row["high"], row["difference"]) if end is not None]
    most = max(1e-3, *(abs(end) for end in ends))
    axis = Axis("change", -most, most)
    p = number(change["p"])
    smallest = change["smallest"]
    text = (
        f"{main} went from {number(change['baseline'])} to {number(change['value'])}, "
        f"by {signed(change['difference'])}, over the {change['pairs']} pairs of {change['videos']} videos "
        f"that both have (p {p})."
    )
    if smallest is not None:
        text += f" A change of {number(smallest)} is what such a set shows four times in five."
    return {
        "metric": main,
        "text": text,
        "rows": [
            {
                "name": cut(label, 60),
                "pairs": row["pairs"],
                "difference": row["difference"],
                "interval": "" if row["low"] is None else f"{signed(row['low'])} to {signed(row['high'])}",
                "p": row["p_corrected"],
                "whisker": Whisker(row["difference"], row["low"], row["high"], axis, 0.0),
            }
            for label, row in rows
        ],
    }


def before_and_after(baseline: str, pairs: Any, main: str, links: Mapping[PairIds, str]) -> Plot:
    """The main metric of the pairs that both have."""
    before: Any = ScoreFolder.open(baseline).pairs()[[*SCORE_IDS, main]]
    both = pairs.merge(before.rename(columns={main: "baseline"}), on=list(SCORE_IDS))
    about = "A dot for each pair. Above the dashed line it gained."
    return scatter(both, "baseline", main, links, key="against", about=about)
