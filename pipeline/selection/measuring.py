"""The measures of many pairs, task by task: in this process or on the workers of a cluster.

A task is a table: the pairs of some whole videos, and where the masks of each video lie. Workers read them there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from pipeline.masks.by_video import PAIR_IDS, MaskSource, PairMasks, by_video, pair_masks, sorted_pairs
from pipeline.masks.predictions import read_row_groups
from pipeline.masks.tasks import locate, plan_tasks, row_groups_by_video, row_groups_of
from pipeline.selection.quality_signals import SIGNAL_COLUMNS, agreement, measure_masks, paraphrase_agreement
from pipeline.selection.repeats import count_repeats
from schemas.pair import PairKey

PAIR_COLUMNS = ("video_id", "expression_id", "expression", "object_ids", "video_uri")  # of a manifest row
MEASURED = pa.schema(
    [
        *PAIR_IDS,
        *SIGNAL_COLUMNS,
        pa.field("problem", pa.string()),  # the reason why a pair has no masks
    ]
)


def plan_measuring(source: MaskSource, against: MaskSource | None) -> tuple[list[pa.Table], int]:
    """Return tasks that hold each pair of `source` once, in order, and the number of their masks."""
    located = locate(source.predictions())
    if source.manifest is None:
        pairs = pa.Table.from_pylist([PairKey(*key)._asdict() for key in sorted(located)], schema=PAIR_IDS)
    else:
        pairs = source.manifest.select([name for name in PAIR_COLUMNS if name in source.manifest.column_names])
        pairs = pairs.sort_by([(name, "ascending") for name in PAIR_IDS.names])
    others = {} if against is None else locate(against.predictions())
    tasks = plan_tasks(pairs, row_groups=row_groups_by_video(located), other_row_groups=row_groups_by_video(others))
    row_groups = {row_group for of_pair in located.values() for row_group in of_pair}
    return tasks, sum(row_group.rows for row_group in row_groups)


@dataclass(frozen=True, slots=True)
class Measurer:
    """From a task to MEASURED, a row for each pair. Raises InputError for broken masks."""

    with_manifest: bool

    def __call__(self, task: pa.Table) -> pa.Table:
        videos = task["video_id"].unique().to_pylist()
        found, others = (
            sorted_pairs(read_row_groups(row_groups_of(task, name), videos))
            for name in ("row_groups", "other_row_groups")
        )
        other_pairs = {pair.key: pair for pair in pair_masks(None, others)}
        rows = task.drop_columns(["row_groups", "other_row_groups"]).to_pylist() if self.with_manifest else None
        measured = [row for video in by_video(pair_masks(rows, found)) for row in self._rows(video, other_pairs)]
        return pa.Table.from_pylist(measured, schema=MEASURED)

    def _rows(self, video: list[PairMasks], others: Mapping[PairKey, PairMasks]) -> Iterator[dict]:
        for pair, repeats, paraphrases in zip(video, count_repeats(video), paraphrase_agreement(video), strict=True):
            row = {"video_id": pair.video_id, "expression_id": pair.expression_id, "problem": pair.problem}
            if pair.frames.num_rows:
                other = others.get(pair.key)
                row |= measure_masks(pair) | {"repeats": repeats, "paraphrases": paraphrases}
                row["other_run"] = None if other is None else agreement(pair, other)
            yield row
