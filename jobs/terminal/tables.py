"""Format tables of scores for a terminal of 80 columns."""

from collections.abc import Sequence
from typing import Any

from pipeline.report.page import truncate
from schemas.printable import one_line

NAME_COLUMNS = 30


def score_table(
    title: str, rows: Sequence[tuple[str, dict[Any, Any]]], metrics: Sequence[str], *, unit="n", intervals: bool = True
) -> list[str]:
    """Return the lines of a table: name, count, the first metric with its interval, the other metrics."""
    title, names = one_line(title), [one_line(name) for name, _ in rows]
    wide = min(max(len(title), *(len(name) for name in names)), NAME_COLUMNS)
    heads = [f"{metrics[0]:>7}{'  95 % interval ' if intervals else ''}", *(f"{metric:>7}" for metric in metrics[1:])]
    lines = [f"{truncate(title, wide):<{wide}}  {unit:>6}  {'  '.join(heads)}"]
    for name, (_, row) in zip(names, rows, strict=True):
        cells = [_number(row.get(metric)) for metric in metrics]
        if intervals:
            ends = row["interval"].get(metrics[0])
            cells[0] += f"  [{ends[0]:.3f}, {ends[1]:.3f}]"[:16] if ends else " " * 16
        lines.append(f"{truncate(name, wide):<{wide}}  {row['n']:>6}  {'  '.join(cells)}")
    return lines


def _number(value: float | None) -> str:
    return f"{value:7.4f}" if value is not None and value == value else f"{'-':>7}"
