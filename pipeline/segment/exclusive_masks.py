"""Pairs whose masks exclude each other: the objects that one annotator of Ref-DAVIS17 describes in a video."""

import re
from collections.abc import Iterable, Mapping

import pyarrow as pa

from schemas.errors import InputError
from schemas.pair import PairKey

ANNOTATORS = 4  # expressions of one object, in the published numbering
FRAMES = ("frames", "frame_indices", "target_frames")  # columns that a group must agree in


def group_of(row: Mapping) -> str:
    """Return the annotator: the column of the manifest or, as published, the expression's number modulo four.

    Raises InputError for a row that has neither.
    """
    if row.get("annotator") is not None:
        return row["annotator"]
    if not re.fullmatch(r"[0-9]{1,9}", row["expression_id"]):
        text = "its annotator is unknown; add a column annotator to the manifest, or number expressions as published"
        raise InputError(f"{PairKey.of(row)}: {text}")
    return str(int(row["expression_id"]) % ANNOTATORS)


def by_group(row: Mapping) -> tuple[str, int, str]:
    """Sort key: by annotator, then in the order of the objects, which decides between equal probabilities."""
    number = row["expression_id"]
    return group_of(row), int(number) if re.fullmatch(r"[0-9]{1,9}", number) else -1, number


def require_groups(manifest: pa.Table) -> None:
    """Raise InputError if the group of a pair is unknown, or the pairs of a group do not list the same frames."""
    names = [name for name in ("video_id", "expression_id", "annotator", *FRAMES) if name in manifest.column_names]
    first: dict[tuple[str, str], dict] = {}
    for row in manifest.select(names).to_pylist():
        same = first.setdefault((row["video_id"], group_of(row)), row)
        if any(row.get(name) != same.get(name) for name in FRAMES):
            text = f"it lists other frames than expression {same['expression_id']} of the same annotator"
            raise InputError(f"{PairKey.of(row)}: {text}, so their masks cannot be merged; list the same frames")


def spread_problems(checked: Iterable[tuple[dict, str]]) -> list[tuple[dict, str]]:
    """Sort rows with their problems ("" for none) by group. A row with a problem spoils those of its group."""
    checked = sorted(checked, key=lambda entry: by_group(entry[0]))
    spoilt = {(row["video_id"], group_of(row)): (row, problem) for row, problem in checked if problem}
    found = []
    for row, problem in checked:
        cause = spoilt.get((row["video_id"], group_of(row)))
        found.append((row, with_cause(PairKey.of(cause[0]), cause[1]) if cause and not problem else problem))
    return found


def with_cause(cause: PairKey, error: str) -> str:
    """Return the error of a pair that fails because another one of its group does."""
    return f"its mask excludes that of {cause}, which failed: {error}"
