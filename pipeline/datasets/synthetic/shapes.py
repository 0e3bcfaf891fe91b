"""Colours and outlines of shapes, background textures, and tables of masks."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from pipeline.io import parquet
from schemas import rle
from schemas.check import conform

COLOURS = {
    "red": (214, 48, 40),
    "green": (44, 160, 60),
    "blue": (40, 84, 208),
    "yellow": (236, 204, 44),
    "purple": (140, 60, 176),
    "white": (242, 242, 242),
}
# Each function returns True for points inside; x (right) and y (down) from the centre, in radii.
KINDS = {
    "circle": lambda x, y: x**2 + y**2 <= 1,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) <= 0.85,
    "diamond": lambda x, y: abs(x) + abs(y) <= 1,
    "triangle": lambda x, y: (y <= 0.8) & (2 * abs(x) - y <= 1),
}


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw grey-brown blocks of two sizes and fine grain, uint8 [H, W, 3]."""
    image = np.full((height, width, 3), (112.0, 108.0, 100.0))
    for cell, strength in ((24, 14.0), (6, 7.0), (1, 3.0)):
        blocks = rng.normal(0, strength, (-(-height // cell), -(-width // cell), 1))
        image += blocks.repeat(cell, axis=0).repeat(cell, axis=1)[:height, :width]
    return image.clip(0, 255).astype(np.uint8)


def annotation_rows(video_id: str, masks: np.ndarray) -> Iterator[dict]:
    """Yield ANNOTATIONS rows for `masks`, bool [N, T, H, W]; an empty mask means that the object is absent."""
    height, width = masks.shape[2:]
    for number, object_masks in enumerate(masks):
        for index, (mask, counts) in enumerate(zip(object_masks, rle.encode(object_masks), strict=True)):
            yield {
                "video_id": video_id,
                "object_id": str(number),
                "frame_index": index,
                "frame_name": f"{index:05d}",
                "height": height,
                "width": width,
                "counts": counts if mask.any() else None,
            }


def write_rows(uri: str, rows: list[dict], schema: pa.Schema) -> str:
    """Write rows as a Parquet table of this schema and return its URI."""
    parquet.write_table(uri, conform(pa.Table.from_pylist(rows), schema, uri))
    return uri
