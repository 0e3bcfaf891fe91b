"""Decide by rules which pairs to keep, with the reason for each pair that is dropped."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.selection.quality_signals import SIGNAL_COLUMNS
from pipeline.selection.rules import Rule
from schemas.printable import counted

WITHOUT_MASKS = "without masks"
PAIRS = pa.schema(
    [
        pa.field("video_id", pa.string()),
        pa.field("expression_id", pa.string()),
        *SIGNAL_COLUMNS,
        pa.field("quality", pa.float64()),  # J&F, of pairs with annotations
        pa.field("keep", pa.bool_()),
        pa.field("reason", pa.string()),  # of every rule that drops the pair; null if it is kept
    ]
)


def collect_pairs(results: Iterable[pa.Table]) -> pa.Table:
    """Join tables of MEASURED to one table of PAIRS, in order; so far only failed pairs have a reason."""
    tables = [PAIRS.empty_table()]
    for found in results:
        found = found.rename_columns({"problem": "reason"})
        for name in ("quality", "keep"):
            found = found.append_column(name, pa.nulls(len(found), PAIRS.field(name).type))
        tables.append(found.select(PAIRS.names).cast(PAIRS))
    return pa.concat_tables(tables).combine_chunks()


def decide(pairs: pa.Table, rules: Sequence[Rule]) -> tuple[pa.Table, dict[str, int]]:
    """Fill `keep` and `reason`, and count the pairs that each rule drops, those without masks first."""
    values = pairs.select([rule.measure for rule in rules]).to_pylist() if rules else [{}] * len(pairs)
    reasons: list[str | None] = []
    dropped = {WITHOUT_MASKS: 0} | {str(rule): 0 for rule in rules}
    for problem, signals in zip(pairs["reason"].to_pylist(), values, strict=True):
        failed = {WITHOUT_MASKS: problem} if problem is not None else {}
        found = failed or {str(rule): reason for rule in rules if (reason := rule.reason(signals))}
        for rule in found:
            dropped[rule] += 1
        reasons.append("; ".join(found.values()) if found else None)
    for name, column in (("keep", [reason is None for reason in reasons]), ("reason", reasons)):
        field = PAIRS.field(name)
        pairs = pairs.set_column(pairs.column_names.index(name), name, pa.array(column, field.type))
    return pairs, {rule: count for rule, count in dropped.items() if count}


def missing_signal_notes(pairs: pa.Table, rules: Sequence[Rule]) -> list[str]:
    """Note each signal of a rule that pairs with masks lack."""
    with_masks = pairs.filter(pc.is_valid(pairs["frames"]))
    lacking = {name: with_masks[name].null_count for name in dict.fromkeys(rule.measure for rule in rules)}
    return [
        f"no {name} for {counted(count, 'pair', ',')}; rules on it keep them"
        for name, count in lacking.items()
        if count
    ]
