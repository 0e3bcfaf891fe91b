"""Masks as COCO RLE, one row per frame: the annotations (truth) and the predictions."""

import pyarrow as pa
import pyarrow.compute as pc

from schemas.check import required

ANNOTATIONS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("object_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32(), nullable=False),  # position in the full source sequence, from 0
        pa.field("frame_name", pa.string()),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("counts", pa.binary()),  # null: the object is absent; no row: the frame is not annotated
    ],
    metadata=required("video_id", "object_id", "frame_index", "height", "width", "counts"),
)

VOID = pa.schema(  # pixels that are not scored
    [field for field in ANNOTATIONS if field.name != "object_id"],
    metadata=required("video_id", "frame_index", "height", "width", "counts"),
)

PREDICTIONS = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("expression_id", pa.string(), nullable=False),
        pa.field("frame_index", pa.int32()),  # null with all frame columns: the whole pair failed
        pa.field("frame_name", pa.string()),
        pa.field("height", pa.int32()),  # displayed size of the video
        pa.field("width", pa.int32()),
        pa.field("counts", pa.binary()),  # compressed RLE; an empty mask is an all-background one, never null
        pa.field("score", pa.float32()),  # of this frame, 0..1
        pa.field("box", pa.list_(pa.float32(), 4)),  # x, y, w, h in pixels
        pa.field("pair_score", pa.float32()),  # mean of the frame scores
        pa.field("query", pa.int32()),  # chosen in this frame's window, of several in the last; null: no choice
        pa.field("chosen", pa.bool_()),  # false: another candidate (--candidates all); null counts as true
        pa.field("margin", pa.float32()),  # of that query over the best other one, -1..1; null without another one
        pa.field("window", pa.int32()),  # frames that the model saw at once, this one among them; null: all so far
        pa.field("presence", pa.float32()),  # of the pair: probability that it means something; null: not predicted
        pa.field("quality", pa.float32()),  # of the pair: expected J of these masks; null: not predicted
        pa.field("status", pa.string()),  # one of schemas.errors.STATUSES
        pa.field("error", pa.string()),
    ],
    metadata=required("video_id", "expression_id", "frame_index", "height", "width", "counts"),
)


NOT_CHOSEN = "all rows of the pair have chosen = false: they are candidates; set it to true for the masks that count"


def chosen_rows(predictions: pa.Table) -> pa.Table:
    """Return the rows (PREDICTIONS) without the candidates that were not chosen."""
    if "chosen" not in predictions.column_names:
        return predictions
    return predictions.filter(pc.fill_null(predictions["chosen"], True))  # pyright: ignore[reportArgumentType]


def failed_rows(predictions: pa.Table) -> pa.Table:
    """Return the rows (PREDICTIONS) whose status is an error; null counts as ok."""
    return predictions.filter(pc.fill_null(pc.not_equal(predictions["status"], "ok"), False))  # pyright: ignore[reportArgumentType]
