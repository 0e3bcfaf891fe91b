"""The measures of many pairs, task by task: in this process or on the workers of a cluster.

A task is a table: the pairs of some whole videos, and where the masks of each video lie. Workers read them there.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.scoring.tasks import PIECES
from pipeline.masks.by_video import (
    PAIR_IDS,
    MaskSource,
    PairMasks,
    by_video,
    pair_masks,
    pairs_of,
    pieces,
    read_row_groups,
)
from pipeline.masks.predictions import RowGroup
from pipeline.selection.quality_signals import SIGNAL_COLUMNS, agreement, measure_masks, paraphrase_agreement
from pipeline.selection.repeats import count_repeats
from schemas.pair import PairKey

TASK_ROWS = 2048  # of masks: enough that a task's own cost does not count, few enough to share out
PAIRS_AT_ONCE = 500  # of one task, whatever they have
ASKED = ("video_id", "expression_id", "expression", "object_ids", "video_uri")  # of a manifest row
MEASURED = pa.schema(
    [
        *PAIR_IDS,
        *SIGNAL_COLUMNS,
        pa.field("problem", pa.string()),  # the reason why a pair has no masks
    ]
)

Places = dict[str, list[RowGroup]]  # of the masks of each video


def plan_tasks(source: MaskSource, against: MaskSource | None) -> tuple[list[pa.Table], int]:
    """Tasks that hold each pair of `source` once, in order, and how many masks they have."""
    places, keys = _located(source)
    others = {} if against is None else _located(against)[0]
    if source.manifest is None:
        asked = pa.Table.from_pylist(
            [dict(zip(PAIR_IDS.names, key, strict=True)) for key in sorted(keys)], schema=PAIR_IDS
        )
    else:
        asked = source.manifest.select([name for name in ASKED if name in source.manifest.column_names])
        asked = asked.sort_by([(name, "ascending") for name in PAIR_IDS.names])
    videos = asked["video_id"].to_pylist()
    tasks = []
    for start, stop in _cuts(videos, places):
        task, of_task = asked.slice(start, stop - start), videos[start:stop]
        for name, of in (("pieces", places), ("others", others)):
            there = [  # beside the first pair of each video
                [] if at and video == of_task[at - 1] else [piece._asdict() for piece in of.get(video, ())]
                for at, video in enumerate(of_task)
            ]
            task = task.append_column(name, pa.array(there, PIECES.type))
        tasks.append(task)
    return tasks, sum(piece.rows for piece in {piece for of in places.values() for piece in of})


def _located(source: MaskSource) -> tuple[Places, set[PairKey]]:
    places: dict[str, dict[RowGroup, None]] = defaultdict(dict)
    found = set()
    for piece, keys in pieces(source.uri):
        found.update(keys)
        for video, _ in keys:
            places[video][piece] = None
    return {video: list(of) for video, of in places.items()}, found


def _cuts(videos: list[str], places: Places) -> Iterator[tuple[int, int]]:
    """Ranges of pairs: whole videos, as many as their pieces have TASK_ROWS rows, and those that add no piece."""
    start, held = 0, set()
    for at, video in enumerate(videos):
        if at and video == videos[at - 1]:
            continue
        both = held.union(places.get(video, ()))
        large = both != held and sum(piece.rows for piece in both) > TASK_ROWS
        if at > start and (large or at - start >= PAIRS_AT_ONCE):
            yield start, at
            start, both = at, set(places.get(video, ()))
        held = both
    if videos:
        yield start, len(videos)


@dataclass(frozen=True, slots=True)
class Measurer:
    """From a task to MEASURED, a row for each pair. Raises InputError for broken masks."""

    with_manifest: bool

    def __call__(self, task: pa.Table) -> pa.Table:
        others = {pair.key: pair for pair in pair_masks(None, self._found(task, "others"))}
        asked = task.drop_columns(["pieces", "others"]).to_pylist() if self.with_manifest else None
        videos = by_video(pair_masks(asked, self._found(task, "pieces")))
        return pa.Table.from_pylist([row for video in videos for row in self._rows(video, others)], schema=MEASURED)

    @staticmethod
    def _found(task: pa.Table, column: str) -> Iterator[tuple[PairKey, pa.Table]]:
        """What lies in the pieces of that column, of the task's videos."""
        flat = pc.list_flatten(task[column]).to_pylist()
        videos = task["video_id"].unique().to_pylist()
        return pairs_of([read_row_groups({RowGroup(**piece): None for piece in flat})], videos) if flat else iter(())

    def _rows(self, video: list[PairMasks], others: Mapping[PairKey, PairMasks]) -> Iterator[dict]:
        for pair, repeats, paraphrases in zip(video, count_repeats(video), paraphrase_agreement(video), strict=True):
            row = {"video_id": pair.video_id, "expression_id": pair.expression_id, "problem": pair.problem}
            if pair.frames.num_rows:
                other = others.get(pair.key)
                row |= measure_masks(pair) | {"repeats": repeats, "paraphrases": paraphrases}
                row["other_run"] = None if other is None else agreement(pair, other)
            yield row
