"""The manifest: one row per pair of a video and an expression."""

import pyarrow as pa

from schemas.check import required

MANIFEST = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("video_uri", pa.string(), nullable=False),  # a relative one counts from the manifest's folder
        pa.field("expression_id", pa.string(), nullable=False),  # unique within its video
        pa.field("expression", pa.string()),
        pa.field("frames", pa.list_(pa.string())),  # names; null in both: all frames
        pa.field("frame_indices", pa.list_(pa.int32())),
        pa.field("target_frames", pa.list_(pa.string())),  # names of the frames to output; the rest is context
        pa.field("num_frames", pa.int32()),  # of the source; what planning goes by
        pa.field("object_ids", pa.list_(pa.string())),  # several: their union; empty: no target
        pa.field("annotator", pa.string()),
        pa.field("split", pa.string()),
    ],
    metadata=required("video_id", "video_uri", "expression_id", "expression"),
)


def attribute_columns(names: list[str]) -> list[str]:
    """The columns of a manifest by which scores can be broken down: annotator, split and all undeclared ones."""
    declared = set(MANIFEST.names) - {"annotator", "split"}
    return [name for name in names if name not in declared]
