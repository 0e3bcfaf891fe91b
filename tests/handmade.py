"""Runs made by hand, without a model."""

import pyarrow as pa

from pipeline import storage
from pipeline.runs.run import Run
from pipeline.runs.units import Receipt, UnitWriter
from schemas.masks import PREDICTIONS


def rows_of(video: str, expression: str, frames: int = 3) -> pa.Table:
    common = {"video_id": video, "expression_id": expression, "height": 2, "width": 2, "counts": b"4", "status": "ok"}
    return pa.Table.from_pylist([common | {"frame_index": i} for i in range(frames)], schema=PREDICTIONS)


def error_of(video: str, expression: str) -> pa.Table:
    row = {"video_id": video, "expression_id": expression, "status": "missing", "error": "gone"}
    return pa.Table.from_pylist([row], schema=PREDICTIONS)


def write(run: Run, unit_id: str, tables: list[pa.Table], fingerprint: str = "f") -> None:
    storage.remove(run.masks_uri(unit_id))
    with UnitWriter(run.masks_uri(unit_id), Receipt(unit_id, fingerprint)) as writer:
        for table in tables:
            writer.write(table)
        writer.commit()


def manifest(pairs) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"video_id": v, "video_uri": f"/{v}", "expression_id": e, "expression": "x", "num_frames": 10}
            for v, e in pairs
        ]
    )


def unit_of(run: Run, video: str) -> str:
    return next(unit.unit_id for unit in run.units() if run.rows(unit)["video_id"][0].as_py() == video)
