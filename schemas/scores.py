"""Scores in long form: a new metric is a new value of `metric`, not a new column."""

import pyarrow as pa

from schemas.check import conform, required

SCORES = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("expression_id", pa.string()),
        pa.field("object_id", pa.string()),
        pa.field("annotator", pa.string()),
        pa.field("metric", pa.string(), nullable=False),  # J, F, J&F and what the protocols name
        pa.field("value", pa.float64()),
    ],
    metadata=required("video_id", "metric", "value"),
)

# Of frame_scores.parquet. Its rows are in order of video_id, row of the manifest (without one: id), frame_index, and
# metric (J, F, or IoU), for any number of files, row groups and workers.
FRAME_SCORES = SCORES.insert(4, pa.field("frame_index", pa.int32(), nullable=False))


def conform_scores(table: pa.Table, schema: pa.Schema, source: str) -> pa.Table:
    """Return `table` as `schemas.check.conform` does, and null ids where it lacks their columns. Raises SchemaError."""
    table = conform(table, schema, source)
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return table
