"""`rvos compare`: compare scores pair by pair, with intervals and p-values"""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from jobs.config.compare import CompareConfig
from jobs.result import JobResult
from pipeline.evaluation.protocols import MEAN_WEIGHT, Protocol
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.grouping import Grouping, group_rows, spell_out, value_label
from pipeline.evaluation.summary.intervals import LEAST_VIDEOS, LEVEL, METHOD, caution
from pipeline.evaluation.summary.protocol_mean import VideoSums, strata_of, weights_of
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import difference_of, holm
from pipeline.report.page import truncate
from pipeline.report.score_tables import Measured, ScoreTable
from schemas.errors import InputError
from schemas.printable import counted, one_line

CHANGED_PAIRS = 10  # listed in each direction
PRINTED_PAIRS = 3
VALUE_COLUMNS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareResult(JobResult):
    """One comparison with the baseline for each further folder."""

    baseline: str
    protocol: str
    metric: str
    interval_method: str
    comparisons: list[dict]
    warnings: list[str]

    def table(self) -> ScoreTable:
        """For each comparison one row for all pairs, then one for each group of `--by`."""
        rows = []
        for one in self.comparisons:
            groups = [(name, spell_out(row["value"]), row) for name, rows in one["by"].items() for row in rows]
            for name, value, row in [("", "overall", one), *groups]:
                means = [None if name else one[side] for side in ("baseline", "value")]
                change = Measured(row["difference"], row["low"], row["high"])
                figures = (row[key] for key in ("p", "p_corrected", "smallest"))
                rows.append([one["scores"], name, value, row["pairs"], row["videos"], *means, change, *figures])
        head = ["scores", "by", "value", "pairs", "videos", "baseline", "mean", "change", "p", "p (Holm)", "smallest"]
        about = f"Baseline {self.baseline}, protocol {self.protocol}, metric {self.metric}."
        return ScoreTable(head, rows, [about, f"{self.interval_method}.", *self.warnings])

    def text(self) -> str:
        lines = [f"baseline  {self.baseline}", f"protocol  {self.protocol}, metric {self.metric}"]
        for comparison in self.comparisons:
            lines += ["", f"{comparison['scores']}", *_overall_lines(comparison)]
            for attribute, rows in comparison["by"].items():
                lines += ["", *_table(attribute, rows)]
            for name in ("risen", "fallen"):
                for pair in comparison[name][:PRINTED_PAIRS]:
                    change = f"{pair['baseline']:.4f} -> {pair['value']:.4f}"
                    words = one_line(f"{pair['video_id']} {pair.get('expression_id') or ''}")
                    lines.append(f"{name:<8}{change}  {words}".rstrip())
        for text in self.warnings:
            lines += textwrap.wrap(text, 80, initial_indent=f"{'note':<10}", subsequent_indent=" " * 10)
        return "\n".join(lines)


def run(config: CompareConfig) -> CompareResult:
    """Compare each further folder with the first, pair by pair.

    All means are those of the protocol, as `rvos evaluate` computes them. Raises InputError if a folder has no scores,
    or scores of another protocol, or shares no pair with the first, or lacks what the protocol averages by.
    """
    score_folders = [ScoreFolder.open(folder) for folder in config.scores]
    first = score_folders[0]
    for other in score_folders[1:]:
        for name in ("protocol", "missing_rule"):
            if other.summary[name] != first.summary[name]:
                text = f"{name} is {other.summary[name]} in {other.folder} and {first.summary[name]} in {first.folder}"
                raise InputError(f"{text}; evaluate both by the same rule")
    metric = config.metric or first.metrics[0]
    groupings = [Grouping.parse(text) for text in config.by]
    baseline, *others = (_values(one, metric) for one in score_folders)
    comparisons = [
        _compare(first.protocol, baseline, rows, one.folder, groupings)
        for one, rows in zip(score_folders[1:], others, strict=True)
    ]
    _correct(comparisons)
    notes = []
    if len({one.summary.get("truth_hash") for one in score_folders}) > 1:
        notes.append("the scores are of different pairs, frames or annotations; the pairs that all share are compared")
    notes += _cautions(comparisons)
    return CompareResult(
        baseline=first.folder,
        protocol=first.summary["protocol"],
        metric=metric,
        interval_method=METHOD,
        comparisons=comparisons,
        warnings=notes,
    )


def _values(scored: ScoreFolder, metric: str) -> pd.DataFrame:
    """Return the rows of one metric, with attributes and MEAN_WEIGHT, by pair."""
    table = scored.table()
    if metric not in set(table["metric"]):
        available = ", ".join(table["metric"].unique())
        raise InputError(f"{scored.folder} has no pairs with the metric {metric}; choose from {available}")
    rows: Any = table[table["metric"] == metric].drop(columns="metric")
    rows = rows.assign(**{MEAN_WEIGHT: weights_of(scored.protocol, rows, f"scores.parquet of {scored.folder}")})
    return rows.set_index(list(SCORE_IDS)).sort_index()


def _compare(
    protocol: Protocol, baseline: pd.DataFrame, other: pd.DataFrame, folder: str, groupings: Sequence[Grouping]
) -> dict:
    by_column = protocol.mean_over
    if by_column not in (None, *SCORE_IDS) and (by_column in baseline) != (by_column in other):
        text = f"{protocol.name} averages by {by_column}, which only one of {folder} and the baseline has"
        raise InputError(f"{text}; evaluate both with the same manifest")
    both: Any = baseline.join(other[["value", MEAN_WEIGHT]].add_suffix("_other"), how="inner")
    if not len(both):
        raise InputError(f"{folder} shares no pair with the baseline; compare scores of the same data set")
    both = both.assign(change=both["value_other"] - both["value"]).reset_index()
    by = {grouping.text: _groups(protocol, both, grouping) for grouping in groupings}
    rows = [row for group in by.values() for row in group]
    _correct(rows)

    def listed(pairs: pd.DataFrame) -> list[dict]:
        return [
            {name: row[name] for name in SCORE_IDS if row[name]}
            | {"baseline": row["value"], "value": row["value_other"]}
            for row in pairs.head(CHANGED_PAIRS).to_dict("records")
        ]

    ranked = both.sort_values("change", kind="stable")
    return {
        "scores": folder,
        "only_in_baseline": len(baseline) - len(both),
        "only_here": len(other) - len(both),
        **_difference(protocol, both),
        "by": by,
        "risen": listed(ranked[ranked["change"] > 0].iloc[::-1]),
        "fallen": listed(ranked[ranked["change"] < 0]),
    }


def _difference(protocol: Protocol, rows: pd.DataFrame) -> dict:
    """Return both means and what `Difference` has, None for unknown."""
    values, weights = (rows[[name, f"{name}_other"]].to_numpy(np.float64) for name in ("value", MEAN_WEIGHT))
    sums = VideoSums.of(values, weights, rows["video_id"].to_numpy(str), strata_of(protocol, rows))
    baseline, value = sums.means().tolist()
    difference = asdict(difference_of(sums, 0, 1, len(rows)))
    known = {name: None if value != value else value for name, value in difference.items()}  # NaN: unknown
    return {"baseline": baseline, "value": value, "difference": known.pop("value"), **known}


def _cautions(comparisons: Sequence[dict]) -> list[str]:
    """Return notes on what so few videos cannot show."""
    rows = [row for one in comparisons for row in (one, *(row for group in one["by"].values() for row in group))]
    fewest = min(comparison["videos"] for comparison in comparisons)
    tested = min((row["videos"] for row in rows if row["low"] is not None), default=fewest)
    found = [text] if (text := caution(tested)) else []
    if fewest < LEAST_VIDEOS:
        found.append(f"{fewest} videos cannot show a change; {LEAST_VIDEOS} are the least for an interval and a test")
    found += [
        f"every pair has the same value in {one['scores']} and the baseline; the interval shows only what "
        f"{counted(one['videos'], 'video')} can exclude"
        for one in comparisons
        if one["low"] is not None and not one["risen"] and not one["fallen"]
    ]
    if any(row["low"] is not None and row["low"] * row["high"] > 0 and row["p_corrected"] > LEVEL for row in rows):
        found.append(
            "an interval excludes 0 although the corrected p (Holm) is above 0.05: p is corrected for the number of "
            "comparisons, the intervals are not; by chance, one in twenty excludes 0"
        )
    groups = {name for one in comparisons for name, rows in one["by"].items() for row in rows if row["low"] is None}
    found += [
        f"by {name}: groups without interval have fewer than {LEAST_VIDEOS} videos, which cannot show a change"
        for name in sorted(groups)
    ]
    return found


def _groups(protocol: Protocol, both: pd.DataFrame, grouping: Grouping) -> list[dict]:
    """Return the difference of each group of pairs, by value."""
    for column in grouping.columns:
        if column.name not in both.columns:
            hidden = ("value", "value_other", MEAN_WEIGHT, f"{MEAN_WEIGHT}_other", "change")
            names = [name for name in both.columns if name not in hidden]
            text = f"the baseline has no attribute {column.name}; choose from {', '.join(names)}"
            raise InputError(f"--by {grouping.text}: {text}")
    groups = group_rows(grouping.values(both))
    found = []
    for value, rows in groups.items():
        difference = _difference(protocol, both.iloc[rows])
        del difference["baseline"], difference["value"]
        found.append({"value": value_label(value), **difference})
    return found


def _correct(rows: list[dict]) -> None:
    """Add the p-values after Holm's correction. Where too few videos allow no interval, no p is stated either."""
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p
        if row["low"] is None:
            row["p"] = row["p_corrected"] = None


def _overall_lines(comparison: dict) -> list[str]:
    corrected = "" if comparison["p_corrected"] == comparison["p"] else f" (Holm {comparison['p_corrected']:.4f})"
    p = "" if comparison["low"] is None else f"  p {comparison['p']:.4f}{corrected}"
    smallest = f"no change can be shown with {counted(comparison['videos'], 'video')}"
    if comparison["smallest"] is not None:
        smallest = f"{comparison['smallest']:.4f}: a change that such a set detects four times in five"
    lines = [
        f"mean      {comparison['baseline']:.4f} -> {comparison['value']:.4f} over "
        f"{counted(comparison['pairs'], 'pair')} of {counted(comparison['videos'], 'video')}",
        f"change    {comparison['difference']:+.4f}{_interval(comparison)}{p}",
        f"smallest  {smallest}",
    ]
    alone = comparison["only_in_baseline"], comparison["only_here"]
    if any(alone):
        lines.append(f"left out  {alone[0]} pairs that only the baseline has, {alone[1]} that only this has")
    return lines


def _table(title: str, rows: Sequence[dict]) -> list[str]:
    title = one_line(title)
    wide = min(VALUE_COLUMNS, max(len(title), *(len(spell_out(row["value"])) for row in rows)))
    lines = [f"{truncate(title, wide):<{wide}}  {'n':>6}  {'change':>7}  {'95 % interval':^18}  {'p':>6}  {'Holm':>6}"]
    for row in rows:
        ends = _interval(row).strip() or "-"
        p, corrected = (f"{row[name]:6.4f}" if row["low"] is not None else "     -" for name in ("p", "p_corrected"))
        cells = f"{row['difference']:+7.4f}  {ends:^18}  {p}  {corrected}"
        lines.append(f"{truncate(spell_out(row['value']), wide):<{wide}}  {row['pairs']:>6}  {cells}")
    return lines


def _interval(row: dict) -> str:
    return "" if row["low"] is None else f"  [{row['low']:+.4f}, {row['high']:+.4f}]"
