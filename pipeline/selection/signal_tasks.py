"""Quality signals of many pairs, task by task: in this process or on the workers of a cluster.

A task is a table with the pairs of some whole videos and the row groups of their masks, which workers read themselves.
"""

import itertools
from collections.abc import Sequence

import pyarrow as pa

from pipeline.masks.by_video import PAIR_IDS, PAIR_ORDER, MaskSource, pair_masks, sorted_pairs
from pipeline.masks.row_groups import read_row_groups
from pipeline.masks.task_planning import locate, plan_tasks, row_groups_by_video, row_groups_of
from pipeline.selection.quality_signals import SIGNAL_COLUMNS, agreement, measure_masks, paraphrase_agreement
from pipeline.selection.repeats import count_repeats
from schemas.errors import InputError
from schemas.pair import PairKey

PAIR_COLUMNS = ("video_id", "expression_id", "expression", "object_ids")  # of a manifest row
MEASURED = pa.schema(
    [
        *PAIR_IDS,
        *SIGNAL_COLUMNS,
        pa.field("problem", pa.string()),  # the reason why a pair has no masks
    ]
)


def plan_signal_tasks(source: MaskSource, against: Sequence[MaskSource]) -> tuple[list[pa.Table], int]:
    """Return tasks that hold each pair of `source` once, in order, and the number of their masks.

    Raises InputError if a run of `against` has no pair of `source`.
    """
    located = locate(source.predictions)
    if source.manifest is None:
        pairs = pa.Table.from_pylist([PairKey(*key)._asdict() for key in sorted(located)], schema=PAIR_IDS)
    else:
        pairs = source.manifest.select([name for name in PAIR_COLUMNS if name in source.manifest.column_names])
        pairs = pairs.sort_by(PAIR_ORDER)
    others, keys = {}, set(PairKey.of_all(pairs))
    for number, other in enumerate(against):
        found = locate(other.predictions)
        if keys.isdisjoint(PairKey(*key) for key in found):
            example = f"in {other.uri}: {PairKey(*min(found))}" if found else f"{other.uri} holds no masks"
            raise InputError(f"no pair is in both runs; in {source.uri}: {min(keys)}; {example}")
        others[f"other_row_groups_{number}"] = row_groups_by_video(found)
    videos = pairs["video_id"].to_pylist()
    tasks = plan_tasks(pairs, videos, row_groups=row_groups_by_video(located), **others)
    row_groups = {row_group for of_pair in located.values() for row_group in of_pair}
    return tasks, sum(row_group.rows for row_group in row_groups)


def measure_task(task: pa.Table, *, with_manifest: bool) -> pa.Table:
    """Return MEASURED, one row for each pair of the task. Raises InputError for broken masks."""
    videos = task["video_id"].unique().to_pylist()
    names = [name for name in task.column_names if name.endswith("row_groups") or name.startswith("other_row_groups")]
    found, *others = (sorted_pairs(read_row_groups(row_groups_of(task, name), videos)) for name in names)
    other_runs = [{pair.key: pair for pair in pair_masks(None, pairs)} for pairs in others]
    manifest = task.drop_columns(names).to_pylist() if with_manifest else None
    rows = []
    for _, of_video in itertools.groupby(pair_masks(manifest, found), lambda pair: pair.video_id):
        video = list(of_video)
        for pair, repeats, paraphrases in zip(video, count_repeats(video), paraphrase_agreement(video), strict=True):
            row = {"video_id": pair.video_id, "expression_id": pair.expression_id, "problem": pair.problem}
            if pair.frames.num_rows:
                row |= measure_masks(pair) | {"repeats": repeats, "paraphrases": paraphrases}
                same = [run[pair.key] for run in other_runs if pair.key in run]
                known = [value for other in same if (value := agreement(pair, other)) is not None]
                row["other_run"] = sum(known) / len(known) if known else None
                row["least_other_run"] = min(known) if known and len(other_runs) > 1 else None
            rows.append(row)
    return pa.Table.from_pylist(rows, schema=MEASURED)
