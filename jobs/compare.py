"""`rvos compare`: compare scores pair by pair, with intervals and p-values"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from jobs.config.compare import CompareConfig
from jobs.result import JobResult
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.grouping import Grouping, group_rows, spell_out, value_label
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import holm, paired_difference
from pipeline.report.page import truncate
from schemas.errors import InputError

CHANGED_PAIRS = 10  # listed in each direction
PRINTED_PAIRS = 3
VALUE_COLUMNS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareResult(JobResult):
    """One comparison with the baseline for each further folder."""

    baseline: str
    protocol: str
    metric: str
    comparisons: list[dict]
    warnings: list[str]

    def text(self) -> str:
        lines = [f"baseline  {self.baseline}", f"protocol  {self.protocol}, metric {self.metric}"]
        for comparison in self.comparisons:
            lines += ["", f"{comparison['scores']}", *_overall_lines(comparison)]
            for attribute, rows in comparison["by"].items():
                lines += ["", *_table(attribute, rows)]
            for name in ("risen", "fallen"):
                for pair in comparison[name][:PRINTED_PAIRS]:
                    change = f"{pair['baseline']:.4f} -> {pair['value']:.4f}"
                    lines.append(f"{name:<8}{change}  {pair['video_id']} {pair.get('expression_id') or ''}".rstrip())
        return "\n".join([*lines, *(f"note      {text}" for text in self.warnings)])


def run(config: CompareConfig) -> CompareResult:
    """Compare each further folder with the first, pair by pair.

    Raises InputError if a folder has no scores, or scores of another protocol, or shares no pair with the first.
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
    baseline, *others = (_values(one.table(), metric, one.folder) for one in score_folders)
    comparisons = [
        _compare(baseline, rows, one.folder, groupings) for one, rows in zip(score_folders[1:], others, strict=True)
    ]
    for comparison, p in zip(comparisons, holm([one["p"] for one in comparisons]), strict=True):
        comparison["p_corrected"] = p
    notes = []
    if len({one.summary.get("truth_hash") for one in score_folders}) > 1:
        notes.append("the scores are of different pairs, frames or annotations; the pairs that all share are compared")
    return CompareResult(
        baseline=first.folder,
        protocol=first.summary["protocol"],
        metric=metric,
        comparisons=comparisons,
        warnings=notes,
    )


def _values(table: pd.DataFrame, metric: str, folder: str) -> pd.DataFrame:
    """Return the rows of one metric, with attributes, by pair."""
    if metric not in set(table["metric"]):
        available = ", ".join(table["metric"].unique())
        raise InputError(f"{folder} has no pairs with the metric {metric}; choose from {available}")
    rows: Any = table[table["metric"] == metric].drop(columns="metric")
    return rows.set_index(list(SCORE_IDS)).sort_index()


def _compare(baseline: pd.DataFrame, other: pd.DataFrame, folder: str, groupings: Sequence[Grouping]) -> dict:
    both: Any = baseline.join(other[["value"]].add_suffix("_other"), how="inner")
    if not len(both):
        raise InputError(f"{folder} shares no pair with the baseline; compare scores of the same data set")
    both = both.assign(change=both["value_other"] - both["value"]).reset_index()
    by = {grouping.text: _groups(both, grouping) for grouping in groupings}
    rows = [row for group in by.values() for row in group]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p

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
        "baseline": float(both["value"].mean()),
        "value": float(both["value_other"].mean()),
        **_difference(both),
        "by": by,
        "risen": listed(ranked[ranked["change"] > 0].iloc[::-1]),
        "fallen": listed(ranked[ranked["change"] < 0]),
    }


def _difference(rows: pd.DataFrame) -> dict:
    difference = asdict(paired_difference(rows["change"].to_numpy(), rows["video_id"].to_numpy(str)))
    known = {name: None if value != value else value for name, value in difference.items()}  # NaN: unknown
    known["difference"] = known.pop("value")
    return known


def _groups(both: pd.DataFrame, grouping: Grouping) -> list[dict]:
    """Return the difference of each group of pairs, by value."""
    for column in grouping.columns:
        if column.name not in both.columns:
            names = [name for name in both.columns if name not in ("value", "value_other", "change")]
            text = f"the baseline has no attribute {column.name}; choose from {', '.join(names)}"
            raise InputError(f"--by {grouping.text}: {text}")
    groups = group_rows(grouping.values(both))
    return [{"value": value_label(value), **_difference(both.iloc[rows])} for value, rows in groups.items()]


def _overall_lines(comparison: dict) -> list[str]:
    lines = [
        f"mean      {comparison['baseline']:.4f} -> {comparison['value']:.4f} over {comparison['pairs']} pairs "
        f"of {comparison['videos']} videos",
        f"change    {comparison['difference']:+.4f}{_interval(comparison)}  p {comparison['p']:.4f}"
        + (f" (Holm {comparison['p_corrected']:.4f})" if comparison["p_corrected"] != comparison["p"] else ""),
    ]
    if comparison["smallest"] is not None:
        lines.append(f"smallest  {comparison['smallest']:.4f}: a change that such a set detects four times in five")
    alone = comparison["only_in_baseline"], comparison["only_here"]
    if any(alone):
        lines.append(f"left out  {alone[0]} pairs that only the baseline has, {alone[1]} that only this has")
    return lines


def _table(title: str, rows: Sequence[dict]) -> list[str]:
    wide = min(VALUE_COLUMNS, max(len(title), *(len(spell_out(row["value"])) for row in rows)))
    lines = [f"{truncate(title, wide):<{wide}}  {'n':>6}  {'change':>7}  {'95 % interval':^18}  {'p':>6}  {'Holm':>6}"]
    for row in rows:
        ends = _interval(row).strip() or "-"
        cells = f"{row['difference']:+7.4f}  {ends:^18}  {row['p']:6.4f}  {row['p_corrected']:6.4f}"
        lines.append(f"{truncate(spell_out(row['value']), wide):<{wide}}  {row['pairs']:>6}  {cells}")
    return lines


def _interval(row: dict) -> str:
    return "" if row["low"] is None else f"  [{row['low']:+.4f}, {row['high']:+.4f}]"
