"""Runs made by hand, without a model."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from pipeline.runs.commit import RECEIPT_KEY, Receipt, UnitWriter
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from schemas import rle
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


def make_older(uri: str) -> None:
    """Rewrite a unit as it was written before there were margins."""
    with parquet.open_file(uri) as file:
        groups = [
            file.read_row_group(number).drop_columns(["margin", "presence", "quality"])
            for number in range(file.num_row_groups)
        ]
        receipt = json.loads(file.metadata.metadata[RECEIPT_KEY])
        del receipt["sealed"]
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
        writer.add_key_value_metadata({RECEIPT_KEY.decode(): json.dumps(receipt)})
    storage.write_bytes(uri, sink.getvalue().to_pybytes())


def manifest(pairs) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"video_id": v, "video_uri": f"/{v}", "expression_id": e, "expression": "x", "num_frames": 10}
            for v, e in pairs
        ]
    )


def unit_of(run: Run, video: str) -> str:
    return next(unit.unit_id for unit in run.units() if PlanReader(run).rows(unit)["video_id"][0].as_py() == video)


def run_of_truth(folder: str, manifest_uri: str, annotations_uri: str, failed: tuple = ()) -> Run:
    """A finished run over a manifest, two pairs in a unit, whose masks are those of the one object that each means.

    The pairs in `failed` are error rows. Scores fall with the expression and rise with the frame.
    """
    annotations = parquet.read_table(annotations_uri).to_pylist()
    planned = read_manifest(manifest_uri)
    objects = {(row["video_id"], row["expression_id"]): row["object_ids"][0] for row in planned.to_pylist()}
    run = Run.start(folder, "f", {}, {})
    run.extend_plan(planned, "m", PlanOptions(unit_frames=24))
    for unit in run.units():
        tables = []
        for row in PlanReader(run).rows(unit).to_pylist():
            pair = row["video_id"], row["expression_id"]
            meant = [one for one in annotations if (one["video_id"], one["object_id"]) == (pair[0], objects[pair])]
            tables.append(error_of(*pair) if pair in failed else predicted(*pair, meant))
        write(run, unit.unit_id, tables)
    return run


def counted_from_one(folder: str, manifest_uri: str, annotations_uri: str) -> tuple[str, str]:
    """Both tables as label maps need them: one annotator, objects from 1 on; videos by absolute URIs."""
    manifest, annotations = storage.join(folder, "manifest.parquet"), storage.join(folder, "annotations.parquet")
    rows = parquet.read_table(manifest_uri).to_pylist()
    for row in rows:
        row |= {"annotator": "0", "object_ids": [str(int(row["object_ids"][0]) + 1)]}
        row["video_uri"] = storage.absolute(row["video_uri"], storage.parent(manifest_uri))
    parquet.write_table(manifest, pa.Table.from_pylist(rows))
    truth = parquet.read_table(annotations_uri)
    shifted = [row | {"object_id": str(int(row["object_id"]) + 1)} for row in truth.to_pylist()]
    parquet.write_table(annotations, pa.Table.from_pylist(shifted, schema=truth.schema))
    return manifest, annotations


def predicted(video: str, expression: str, rows: list[dict]) -> pa.Table:
    """PREDICTIONS with the masks of annotation rows."""
    found = []
    for row in sorted(rows, key=lambda row: row["frame_index"]):
        names = ("frame_index", "frame_name", "height", "width")
        score = 0.9 - 0.1 * (int(expression) % 4) + 0.001 * row["frame_index"]
        more = {"score": score, "pair_score": 0.5, "status": "ok", "video_id": video, "expression_id": expression}
        counts = row["counts"] or rle.empty(row["height"], row["width"])
        found.append({name: row[name] for name in names} | more | {"counts": counts})
    return pa.Table.from_pylist(found, schema=PREDICTIONS)
