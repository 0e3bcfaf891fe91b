"""Open an evaluation, and cut it into tasks: some pairs, and the row groups of the predictions that hold them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.evaluation.protocols import MissingRule, Protocol
from pipeline.evaluation.scoring.plausibility import FORCE
from pipeline.evaluation.scoring.score_task import Scorer
from pipeline.masks.annotations import Annotations
from pipeline.masks.label_agreement import shifted_labels
from pipeline.masks.pairs_to_score import MaskKey, objects_of_videos, pairs_from_annotations, pairs_from_manifest
from pipeline.masks.png_trees import DEFAULT_READING, PngReading
from pipeline.masks.predictions import Predictions, frame_step, read_predictions
from pipeline.masks.table_order import require_column_order
from pipeline.masks.task_planning import locate, plan_tasks, row_groups_by_video
from pipeline.masks.tree_masks import TreeMasks
from schemas.errors import ImplausibleError, InputError
from schemas.pair import PairKey


@dataclass(frozen=True, slots=True)
class Scoring:
    """An evaluation whose inputs are open.

    annotated: `Annotations.keys_by_video`. objects: those known of each video, of the annotations or the manifest.
    """

    scorer: Scorer
    manifest: pa.Table | None
    annotated: Mapping[str, frozenset[str]]
    objects: Mapping[str, frozenset[str]]
    notes: list[str]

    @classmethod
    def open(
        cls,
        predictions: str,
        annotations: str,
        manifest: pa.Table | None,
        protocol: Protocol,
        missing: MissingRule,
        *,
        force: bool = False,
        reading: PngReading = DEFAULT_READING,
    ) -> "Scoring":
        """Open the inputs of an evaluation; read those that are trees of PNGs.

        Raises InputError if one is not valid, ImplausibleError if labels are no objects, or the runs of
        masks look as if counted along rows (unless `force`).
        """
        source = read_predictions(predictions, reading)
        notes = list[str]()
        try:
            truth = Annotations.open(annotations, reading, objects_of_videos(manifest))
        except ImplausibleError as error:
            if not force:
                raise ImplausibleError(f"{error}\n{FORCE}") from None
            notes.append(str(error))
            truth = Annotations.open(annotations, reading)
        annotated = truth.keys_by_video()
        shifted = shifted_labels(annotated, objects_of_videos(manifest)) if truth.key == "object_id" else None
        if shifted and not force:
            raise ImplausibleError(f"{annotations}: {shifted}\n{FORCE}")
        notes += [f"{annotations}: {shifted}"] if shifted else []
        tables = () if isinstance(source, TreeMasks) else source.uris
        try:
            notes += require_column_order(predictions, tables, force=force)
            notes += require_column_order(annotations, truth.tables, force=force)
        except ImplausibleError as error:
            raise ImplausibleError(f"{error}\n{FORCE}") from None
        objects = annotated if truth.key == "object_id" else objects_of_videos(manifest)
        any_labels = protocol.assigned and manifest is None  # pairs by object: assignment takes any labels
        if isinstance(source, TreeMasks) and source.are_objects and not any_labels:
            try:
                source = source.with_objects(objects)
            except ImplausibleError as error:
                if not force:
                    raise ImplausibleError(f"{error}\n{FORCE}") from None
                notes.append(str(error))
        scorer = Scorer(source, truth, protocol, missing, frame_step(predictions))
        return cls(scorer, manifest, annotated, objects, notes)

    def requested(self) -> pa.Table:
        """Return the pairs to score, as REQUESTED."""
        forms = self.scorer.truth.key, self.scorer.source.are_objects
        if self.manifest is None:
            return pairs_from_annotations(self.annotated, *forms)
        return pairs_from_manifest(self.manifest, self.annotated, *forms)


def plan_scoring(
    predictions: Predictions, requested: pa.Table, *, whole_videos: bool
) -> tuple[list[pa.Table], list[MaskKey], frozenset[str]]:
    """Return tasks that hold every row of REQUESTED once, the pairs that are predicted but not requested, and the
    videos that are predicted.

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
    videos = frozenset(video for video, _ in located)
    if isinstance(predictions, TreeMasks):
        videos = frozenset(path[0] for path in predictions.frames)
    for key in extra:
        del located[key]
    for key, row_groups in located.items():
        if row_groups[0].uri != row_groups[-1].uri:
            text = f"predicted in both {row_groups[0].uri} and {row_groups[-1].uri}; write each pair into one table"
            raise InputError(f"{PairKey(*key)}: {text}")
    if whole_videos:
        together = [video for video, _ in keys]
        return plan_tasks(requested, together, row_groups=row_groups_by_video(located)), extra, videos
    return plan_tasks(requested, keys, row_groups=located), extra, videos
