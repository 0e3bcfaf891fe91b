"""Check the fields of a summary.json, which another program may have written or damaged."""

from typing import Any

FRAME_COUNTS = ("scored", "missing")
LISTS_OF_PAIRS = ("failed", "missing", "misshaped", "unannotated", "incomplete", "extra")
TEXTS = ("missing_rule",)
OPTIONAL_TEXTS = ("version", "predictions", "annotations", "manifest", "out", "truth_hash", "interval_method")


def summary_problem(document: Any) -> str | None:
    """Return the field that cannot be used, or None. `overall`, `pairs`, `frames` and `missing_rule` must be there."""
    if not isinstance(document, dict):
        return "the whole document"
    for name in ("pairs", "frames"):
        if not _are_counts(document.get(name)):
            return name
    if set(FRAME_COUNTS) - set(document["frames"]):
        return "frames"
    for name in TEXTS + OPTIONAL_TEXTS:
        if not isinstance(document.get(name), str if name in TEXTS else str | None):
            return name
    if not _are_means(document.get("overall")):
        return "overall"
    groups = document.get("by") or {}
    if not isinstance(groups, dict) or not all(_are_rows(rows) for rows in groups.values()):
        return "by"
    warnings = document.get("warnings", [])
    if not isinstance(warnings, list) or not all(isinstance(text, str) for text in warnings):
        return "warnings"
    return next((f"{name}_pairs" for name in LISTS_OF_PAIRS if not _are_pairs(document.get(f"{name}_pairs", []))), None)


def _are_counts(values: Any) -> bool:
    return isinstance(values, dict) and all(_is_count(value) for value in values.values())


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _are_rows(rows: Any) -> bool:
    return isinstance(rows, list) and all(_are_means(row) and {"value", "videos"} <= row.keys() for row in rows)


def _are_means(row: Any) -> bool:
    """Return True for numbers of pairs and videos, means of metrics, and their intervals; each but n may be null."""
    if not isinstance(row, dict) or not _is_count(row.get("n")) or not _is_count(row.get("videos", 0)):
        return False
    intervals = row.get("interval", {})
    if not isinstance(intervals, dict) or not all(_is_interval(ends) for ends in intervals.values()):
        return False
    means = [value for name, value in row.items() if name not in ("n", "videos", "interval", "value")]
    return all(mean is None or _is_number(mean) for mean in means)


def _is_interval(ends: Any) -> bool:
    return ends is None or (isinstance(ends, list) and len(ends) == 2 and all(_is_number(end) for end in ends))


def _are_pairs(pairs: Any) -> bool:
    return isinstance(pairs, list) and all(
        isinstance(pair, dict) and all(isinstance(value, str | None) for value in pair.values()) for pair in pairs
    )
