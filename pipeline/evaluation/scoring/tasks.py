"""Open an evaluation, and cut it into tasks: some pairs, and the row groups of the predictions that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.protocols import MissingRule, Protocol
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.masks.annotations import Annotations
from pipeline.masks.pairs_to_score import MaskKey, pairs_from_annotations, pairs_from_manifest
from pipeline.masks.predictions import Predictions, frame_step, manifest_of, open_predictions
from pipeline.masks.task_planning import locate, plan_tasks, row_groups_by_video
from schemas.errors import InputError
from schemas.pair import PairKey


@dataclass(frozen=True, slots=True)
class Scoring:
    """An evaluation whose inputs are open. `manifest`: the one given, else that of the run, or None."""

    scorer: Scorer
    manifest: pa.Table | None

    @classmethod
    def open(
        cls, predictions: str, annotations: str, manifest: str | None, protocol: Protocol, missing: MissingRule
    ) -> "Scoring":
        """Open the inputs of an evaluation. Raises InputError if one is not valid."""
        truth, source = Annotations.open(annotations), open_predictions(predictions)
        scorer = Scorer(source, truth, protocol, missing, frame_step(predictions))
        return cls(scorer, manifest_of(predictions, manifest))

    def requested(self, annotated: Mapping[str, frozenset[str]]) -> pa.Table:
        """Return the pairs to score, as REQUESTED. `annotated`: `Annotations.keys_by_video`."""
        if self.manifest is None:
            return pairs_from_annotations(annotated, self.scorer.truth.key, self.scorer.source.are_objects)
        return pairs_from_manifest(self.manifest, annotated, self.scorer.truth.key)


def plan_scoring(
    predictions: Predictions, requested: pa.Table, *, whole_videos: bool
) -> tuple[list[pa.Table], list[MaskKey]]:
    """Return tasks that hold every row of REQUESTED once, and the pairs that are predicted but not requested.

    The tasks hold the rows in order of video_id and manifest row, so that results do not depend on the row groups.
    whole_videos: keep the pairs of a video in one task, as assignment needs them.

    Raises InputError if a requested pair has rows in two tables.
    """
    requested = requested.take(pc.sort_indices(requested, sort_keys=[("video_id", "ascending"), ("row", "ascending")]))
    columns = (requested[name].to_pylist() for name in ("video_id", "expression_id", "object_ids"))
    keys: list[MaskKey] = [  # `RequestedPair.key` of each row
        (video, (objects or [""])[0] if expression is None else expression)
        for video, expression, objects in zip(*columns, strict=True)
    ]
    located = locate(predictions, sorted(set(keys)))
    extra = sorted(located.keys() - set(keys))
    for key in extra:
        del located[key]
    for key, row_groups in located.items():
        if row_groups[0].uri != row_groups[-1].uri:
            text = f"predicted in both {row_groups[0].uri} and {row_groups[-1].uri}; write each pair into one table"
            raise InputError(f"{PairKey(*key)}: {text}")
    if whole_videos:
        videos = [video for video, _ in keys]
        return plan_tasks(requested, videos, row_groups=row_groups_by_video(located)), extra
    return plan_tasks(requested, keys, row_groups=located), extra
