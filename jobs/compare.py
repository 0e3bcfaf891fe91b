"""`rvos compare`: is the second set of scores better than the first, or is it chance?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from jobs.config.compare import CompareConfig
from jobs.terminal.tables import short
from pipeline.evaluation.scoring.collect import SCORE_IDS
from pipeline.evaluation.summary.attributes import Grouping, spell_out, value_label, value_order
from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.evaluation.summary.statistics import Difference, holm, paired_difference
from schemas.errors import InputError

CHANGED = 10  # pairs listed in each direction
SHOWN = 3
WIDE = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareResult:
    """One comparison for each further folder."""

    baseline: str
    protocol: str
    metric: str
    comparisons: list[dict]
    warnings: list[str]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [f"baseline  {self.baseline}", f"protocol  {self.protocol}, metric {self.metric}"]
        for comparison in self.comparisons:
            lines += ["", f"{comparison['scores']}", *_overall_lines(comparison)]
            for attribute, rows in comparison["by"].items():
                lines += ["", *_table(attribute, rows)]
            for name in ("risen", "fallen"):
                for pair in comparison[name][:SHOWN]:
                    change = f"{pair['baseline']:.4f} -> {pair['value']:.4f}"
                    lines.append(f"{name:<8}{change}  {pair['video_id']} {pair.get('expression_id') or ''}".rstrip())
        return "\n".join([*lines, *(f"note      {text}" for text in self.warnings)])


def run(config: CompareConfig) -> CompareResult:
    """Compare each further folder with the first, pair by pair.

    Raises InputError if a folder holds no scores, or those of another protocol, or they share no pair.
    """
    scored = [ScoreFolder.open(folder) for folder in config.scores]
    folders, summaries = [one.folder for one in scored], [one.summary for one in scored]
    for folder, summary in zip(folders, summaries, strict=True):
        for name in ("protocol", "missing_rule"):
            if summary[name] != summaries[0][name]:
                text = f"{name} is {summary[name]} in {folder} and {summaries[0][name]} in {folders[0]}"
                raise InputError(f"{text}; scores of different rules cannot be compared: evaluate anew")
    tables = [one.table() for one in scored]
    metric = config.metric or scored[0].metrics[0]
    bys = [Grouping.parse(text) for text in config.by]
    baseline = _values(tables[0], metric, folders[0])
    comparisons = [
        _compare(baseline, _values(table, metric, folder), folder, bys)
        for folder, table in zip(folders[1:], tables[1:], strict=True)
    ]
    for comparison, p in zip(comparisons, holm([one["p"] for one in comparisons]), strict=True):
        comparison["p_corrected"] = p
    notes = []
    if len({summary.get("truth_hash") for summary in summaries}) > 1:
        notes.append("the scores are of different pairs, frames or true masks; the pairs that all share are compared")
    return CompareResult(
        baseline=folders[0],
        protocol=summaries[0]["protocol"],
        metric=metric,
        comparisons=comparisons,
        warnings=notes,
    )


def _values(table: pd.DataFrame, metric: str, folder: str) -> pd.DataFrame:
    """The rows of one metric, by pair, attributes with them."""
    if metric not in set(table["metric"]):
        raise InputError(
            f"{folder} has no pairs with the metric {metric}; it has {', '.join(table['metric'].unique())}"
        )
    rows: Any = table[table["metric"] == metric].drop(columns="metric")
    return rows.set_index(list(SCORE_IDS)).sort_index()


def _compare(baseline: pd.DataFrame, other: pd.DataFrame, folder: str, bys: Sequence[Grouping]) -> dict:
    both: Any = baseline.join(other[["value"]].add_suffix("_other"), how="inner")
    if not len(both):
        raise InputError(f"{folder} shares no pair with the baseline; are they of the same data set?")
    both = both.assign(change=both["value_other"] - both["value"]).reset_index()
    by = {one.text: _groups(both, one) for one in bys}
    rows = [row for group in by.values() for row in group]
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_corrected"] = p
    ranked = both.sort_values("change", kind="stable")
    return {
        "scores": folder,
        "only_in_baseline": len(baseline) - len(both),
        "only_here": len(other) - len(both),
        "baseline": float(both["value"].mean()),
        "value": float(both["value_other"].mean()),
        **_difference(both),
        "by": by,
        "risen": [_pair(row) for row in ranked.iloc[::-1].head(CHANGED).to_dict("records") if row["change"] > 0],
        "fallen": [_pair(row) for row in ranked.head(CHANGED).to_dict("records") if row["change"] < 0],
    }


def _difference(rows: pd.DataFrame) -> dict:
    found: Difference = paired_difference(rows["change"].to_numpy(), rows["video_id"].to_numpy(str))
    known = {name: None if value != value else value for name, value in asdict(found).items()}  # NaN: not known
    known["difference"] = known.pop("value")
    return known


def _groups(both: pd.DataFrame, by: Grouping) -> list[dict]:
    for column in by.columns:
        if column.name not in both.columns:
            names = [name for name in both.columns if name not in ("value", "value_other", "change")]
            raise InputError(
                f"--by {by.text}: the baseline has no attribute {column.name} (there are {', '.join(names)})"
            )
    groups: dict[object, list[int]] = {}
    for row, values in enumerate(by.values(both)):
        for value in values:
            groups.setdefault(value, []).append(row)
    return [
        {"value": value_label(value), **_difference(both.iloc[groups[value]])}
        for value in sorted(groups, key=value_order)
    ]


def _pair(row: dict) -> dict:
    return {name: row[name] for name in SCORE_IDS if row[name]} | {
        "baseline": row["value"],
        "value": row["value_other"],
    }


def _overall_lines(comparison: dict) -> list[str]:
    lines = [
        f"mean      {comparison['baseline']:.4f} -> {comparison['value']:.4f} over {comparison['pairs']} pairs "
        f"of {comparison['videos']} videos",
        f"change    {comparison['difference']:+.4f}{_interval(comparison)}  p {comparison['p']:.4f}"
        + (f" (Holm {comparison['p_corrected']:.4f})" if comparison["p_corrected"] != comparison["p"] else ""),
    ]
    if comparison["smallest"] is not None:
        lines.append(f"smallest  {comparison['smallest']:.4f}: a change that such a set shows four times in five")
    alone = comparison["only_in_baseline"], comparison["only_here"]
    if any(alone):
        lines.append(f"left out  {alone[0]} pairs that only the baseline has, {alone[1]} that only this has")
    return lines


def _table(title: str, rows: Sequence[dict]) -> list[str]:
    wide = min(WIDE, max(len(title), *(len(spell_out(row["value"])) for row in rows)))
    lines = [f"{short(title, wide):<{wide}}  {'n':>6}  {'change':>7}  {'95 % interval':^18}  {'p':>6}  {'Holm':>6}"]
    for row in rows:
        ends = _interval(row).strip() or "-"
        cells = f"{row['difference']:+7.4f}  {ends:^18}  {row['p']:6.4f}  {row['p_corrected']:6.4f}"
        lines.append(f"{short(spell_out(row['value']), wide):<{wide}}  {row['pairs']:>6}  {cells}")
    return lines


def _interval(row: dict) -> str:
    return "" if row["low"] is None else f"  [{row['low']:+.4f}, {row['high']:+.4f}]"
