"""Run `rvos segment` with small windows and units, and read the masks of a run."""

import pyarrow as pa

from jobs import segment
from pipeline.io import parquet
from pipeline.runs.run import Run

UNIT_FRAMES = 36  # one video of `shapes` a unit


def run(manifest, folder, checkpoint, progress=lambda _: None, **options):
    options = {"short_side": 64, "window": "5", "unit_frames": UNIT_FRAMES} | options
    config = segment.SegmentConfig(manifest=str(manifest), run=str(folder), checkpoint=checkpoint, **options)
    return segment.run(config, progress)


def masks(folder) -> pa.Table:
    tables = [
        parquet.read_table(Run.open(str(folder)).masks_uri(unit.unit_id)) for unit in Run.open(str(folder)).units()
    ]
    return pa.concat_tables(tables).sort_by(
        [("video_id", "ascending"), ("expression_id", "ascending"), ("frame_index", "ascending")]
    )


def keys(table: pa.Table) -> list[tuple]:
    return list(zip(*(table[name].to_pylist() for name in ("video_id", "expression_id", "frame_index")), strict=True))
