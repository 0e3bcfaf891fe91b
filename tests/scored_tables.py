"""Small tables of masks on two boxes, and `rvos evaluate` on them."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from jobs import evaluate
from jobs.evaluate import EvaluateConfig
from schemas import rle
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS

SIZE = (12, 20)


def box(left, width, top=2, height=6):
    mask = np.zeros(SIZE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


EMPTY, LEFT, RIGHT = box(0, 0), box(2, 6), box(10, 6)
BOTH = LEFT | RIGHT


def mask_row(video, frame, mask, **ids):
    counts = mask if mask is None or isinstance(mask, bytes) else rle.encode(mask[None])[0]
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"video_id": video, "frame_index": frame, "frame_name": f"{frame:05}", "counts": counts} | size | ids


def annotations(tmp_path, rows, schema=ANNOTATIONS, name="annotations.parquet"):
    return write(tmp_path / name, list(rows), schema)


def write(path, rows, schema):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [name for name in schema.names if any(name in row for row in rows)]
    table = pa.Table.from_pylist(rows, pa.schema([schema.field(name) for name in names]))
    pq.write_table(table, path)
    return str(path)


def two_objects(frames=4, videos=("a", "b")):
    """Object 1 on the left in all frames; object 2 on the right, absent in the last."""
    for video in videos:
        for frame in range(frames):
            yield mask_row(video, frame, LEFT, object_id="1")
            yield mask_row(video, frame, RIGHT if frame < frames - 1 else None, object_id="2")


def manifest_row(video, expression, objects, **more):
    uri = {"video_uri": f"{video}.mp4", "expression": f"object {objects}"}
    return {"video_id": video, "expression_id": expression, "object_ids": objects} | uri | more


def manifest(tmp_path, rows, **attributes):
    schema = MANIFEST
    for name, kind in attributes.items():
        schema = schema.append(pa.field(name, kind))
    return write(tmp_path / "manifest.parquet", rows, schema)


def predicted(video, expression, masks):
    return [mask_row(video, frame, mask, expression_id=expression) for frame, mask in enumerate(masks)]


def png(path, labels, mode="P"):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8))
    if mode == "P":
        image.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    image.convert(mode).save(path)


def run(tmp_path, **options):
    """Score into the folder `out`, in place of earlier scores there."""
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    return evaluate.run(EvaluateConfig(out=str(tmp_path / "out"), **options))
