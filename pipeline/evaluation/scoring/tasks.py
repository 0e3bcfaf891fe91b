"""Cut an evaluation into tasks: the pairs of some videos, and the row groups of the predictions that hold them."""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.masks.pairs_to_score import MaskKey
from pipeline.masks.predictions import Predictions
from pipeline.masks.tasks import locate, plan_tasks, row_groups_by_video
from schemas.errors import InputError
from schemas.pair import PairKey


def plan_scoring(predictions: Predictions, requested: pa.Table) -> tuple[list[pa.Table], list[MaskKey]]:
    """Return tasks that hold every row of REQUESTED once, and the pairs that are predicted but not requested.

    The tasks hold the rows in order of video_id and manifest row, so that results do not depend on the row groups.
    Raises InputError if a requested pair has rows in two tables.
    """
    columns = (requested[name].to_pylist() for name in ("video_id", "expression_id", "object_ids"))
    keys: set[MaskKey] = {  # `RequestedPair.key` of each row
        (video, (objects or [""])[0] if expression is None else expression)
        for video, expression, objects in zip(*columns, strict=True)
    }
    located = locate(predictions, sorted(keys))
    extra = sorted(located.keys() - keys)
    for key in extra:
        del located[key]
    for key, row_groups in located.items():
        if row_groups[0].uri != row_groups[-1].uri:
            text = f"predicted in both {row_groups[0].uri} and {row_groups[-1].uri}; write each pair into one table"
            raise InputError(f"{PairKey(*key)}: {text}")
    in_order = pc.sort_indices(requested, sort_keys=[("video_id", "ascending"), ("row", "ascending")])
    return plan_tasks(requested.take(in_order), row_groups=row_groups_by_video(located)), extra
