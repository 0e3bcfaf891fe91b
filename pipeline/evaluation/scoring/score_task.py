"""Score one task: in this process for small inputs, in Ray workers for large ones."""

import re
from dataclasses import dataclass, replace

import pyarrow as pa

from pipeline.evaluation.metrics.pair_metrics import METRICS, iou32
from pipeline.evaluation.protocols import MissingRule, Protocol
from pipeline.evaluation.scoring.gap_objects import with_gap_pairs
from pipeline.evaluation.scoring.match_frames import MaskTable
from pipeline.evaluation.scoring.object_attributes import SHAPE_ATTRIBUTES, object_size, shape_attributes
from pipeline.evaluation.scoring.score_pairs import PairOutcome, score_pairs
from pipeline.masks.annotations import Annotations
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair, requested_pairs
from pipeline.masks.predictions import Predictions
from pipeline.masks.task_planning import row_groups_of
from schemas.errors import InputError
from schemas.masks import NOT_CHOSEN, chosen_rows

CANDIDATE = pa.struct(
    [
        *(("frame", pa.int64()), ("score", pa.float64()), ("area", pa.int64())),
        *(("truth_area", pa.int64()), ("iou", pa.float64())),
    ]
)
RESULT = pa.schema(  # one row for each pair; `values` and `weights` in the order of `Scorer.metrics`
    [
        *[pa.field(name, pa.string()) for name in ("video_id", "expression_id", "object_id", "annotator")],
        pa.field("row", pa.int64()),
        pa.field("status", pa.string()),
        pa.field("error", pa.string()),
        pa.field("frames", pa.int32()),
        pa.field("missing_frames", pa.int32()),
        pa.field("extra_frames", pa.int32()),  # predicted but not annotated
        pa.field("extra_frame", pa.string()),  # the first of them
        pa.field("frame_mismatch", pa.string()),  # a frame of each side, if none is in common
        pa.field("has_target", pa.bool_()),
        pa.field("truth_pixels", pa.int64()),  # of all scored frames
        pa.field("predicted_pixels", pa.int64()),
        pa.field("values", pa.list_(pa.float64())),
        pa.field("weights", pa.list_(pa.float64())),
        pa.field("mask_attributes", pa.list_(pa.float64())),  # in the order of MASK_ATTRIBUTES
        pa.field("frame_index", pa.list_(pa.int32())),
        # One value for each frame, if the protocol has the metric.
        *[pa.field(name, pa.list_(pa.float64())) for name in ("J", "F", "IoU")],
        pa.field("truth_areas", pa.list_(pa.int64())),  # one for each frame, for mAP
        pa.field("candidates", pa.list_(CANDIDATE)),
        pa.field("truth_digest", pa.binary()),
        pa.field("prediction_digest", pa.binary()),
    ]
)


@dataclass(frozen=True, slots=True)
class Scorer:
    """All that scoring a task takes. Small, since it is sent to workers."""

    source: Predictions
    truth: Annotations
    protocol: Protocol
    missing: MissingRule = "zero"
    frame_step: int = 1  # for pairs that list no frames
    with_shapes: bool = False  # also measure the attributes of SHAPE_ATTRIBUTES

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of a single pair."""
        return tuple(name for name in self.protocol.metrics if name not in ("J&F", "mAP"))

    def outcomes(self, task: pa.Table) -> tuple[list[PairOutcome], MaskTable]:
        """Return the outcome of each pair of a task, and their masks. Raises InputError for invalid tables."""
        pairs = requested_pairs(task, self.truth.key, self.frame_step)
        if self.protocol.mean_over == "annotator":
            pairs = [_with_annotator(pair) for pair in pairs]
        truth = self.truth.rows({pair.video_id for pair in pairs})
        if self.protocol.first_frame_objects and self.truth.key == "object_id":
            pairs = with_gap_pairs(pairs, truth)
        by_object = all(pair.expression_id is None for pair in pairs)
        all_labels = self.protocol.assigned and by_object  # label maps: all labels compete, annotated or not
        predictions = self.source.read_rows(row_groups_of(task), pairs, all_labels=all_labels)
        if "mAP" in self.protocol.metrics:
            return score_pairs(pairs, predictions, truth, self.truth, self.protocol, self.missing)
        chosen = chosen_rows(predictions)
        outcomes, masks = score_pairs(pairs, chosen, truth, self.truth, self.protocol, self.missing)
        others = _keys(predictions) if len(chosen) < len(predictions) else set[MaskKey]()
        return [
            replace(one, error=NOT_CHOSEN) if one.status == "missing" and one.pair.key in others else one
            for one in outcomes
        ], masks

    def __call__(self, task: pa.Table) -> pa.Table:
        """Return the RESULT of a task. Raises as `outcomes`."""
        outcomes, masks = self.outcomes(task)
        rows = [self._row(outcome) for outcome in outcomes]
        if self.with_shapes:
            values = shape_attributes([outcome.frames for outcome in outcomes], masks)
            for row, of_row in zip(rows, values, strict=True):
                row["mask_attributes"][1:] = of_row
        return pa.Table.from_pylist(rows, schema=RESULT)

    def _row(self, outcome: PairOutcome) -> dict:
        pair, track = outcome.pair, outcome.track
        row = {name: getattr(pair, name) for name in ("video_id", "expression_id", "object_id", "annotator", "row")}
        row |= {"status": outcome.status, "error": outcome.error, "missing_frames": outcome.missing_frames}
        row |= {"truth_digest": outcome.truth_digest, "prediction_digest": outcome.prediction_digest}
        row |= {"extra_frames": len(outcome.only_predicted), "frame_mismatch": outcome.frame_mismatch}
        row["extra_frame"] = str(outcome.only_predicted[0]) if outcome.only_predicted else None
        row["has_target"] = bool(pair.annotation_keys) and not pair.is_gap
        not_measured = [None] * len(SHAPE_ATTRIBUTES)
        if track is None:
            return row | {"frames": 0, "mask_attributes": [None, *not_measured]}
        values = [METRICS[name](track) for name in self.metrics]
        row |= {
            "frames": len(track.index),
            "truth_pixels": int(track.truth_area.sum()),
            "predicted_pixels": int(track.predicted_area.sum()),
            "values": [value.value for value in values],
            "weights": [value.weight for value in values],
            "mask_attributes": [object_size(track.truth_area, track.pixels), *not_measured],
            "frame_index": track.index,
        }
        if "J" in self.metrics:
            return row | {"J": track.j, "F": track.f}
        return row | {"IoU": iou32(track), "truth_areas": track.truth_area, "candidates": outcome.candidates}


def _keys(predictions: pa.Table) -> set[MaskKey]:
    pairs = predictions.select(["video_id", "expression_id"]).group_by(["video_id", "expression_id"]).aggregate([])
    return set(zip(*(column.to_pylist() for column in pairs.columns), strict=True))


def _with_annotator(pair: RequestedPair) -> RequestedPair:
    """Derive the annotator as Ref-DAVIS17 numbers expressions: four per object, one for each annotator."""
    if pair.annotator is not None or pair.expression_id is None:
        return pair
    if not re.fullmatch(r"[0-9]{1,9}", pair.expression_id):
        text = "its annotator is unknown; add a column annotator to the manifest, or number expressions as published"
        raise InputError(pair.message(text))
    return replace(pair, annotator=str(int(pair.expression_id) % 4))
