"""Check masks in Parquet files of others: whether their runs were counted down the columns, as COCO does."""

from collections.abc import Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import parquet, storage
from pipeline.io.plain_parquet import PlainParquetFile
from pipeline.masks.run_order import RunOrder
from pipeline.runs.run_json import is_run
from schemas import rle
from schemas.check import conform, required
from schemas.errors import InputError
from schemas.masks import VOID

ROW_GROUPS = 3  # read the first, the last and one between
MASKS = 64  # looked at in each
BOXES = ("box", "bbox")  # columns that hold x, y, w, h of a mask
COLUMNS = ("video_id", "frame_index", "height", "width", "counts")
SCHEMA = pa.schema([VOID.field(name) for name in COLUMNS], metadata=required(*COLUMNS))


def require_column_order(source: str, tables: Sequence[str | pa.Table], *, force: bool = False) -> list[str]:
    """Look at some masks of the Parquet files among `tables`; return what is wrong as notes if `force`.

    Masks of a run are known to be right. Whoever scores or writes the masks reports files and strings that are not
    valid. Raises ImplausibleError that names `source` and one mask, if the masks look as if written along rows.
    """
    uris = [table for table in tables if isinstance(table, str)]
    if not uris or is_run(storage.absolute(source)):
        return []
    order, read = RunOrder(), set[tuple[str, int]]()
    for at in range(ROW_GROUPS):
        uri = uris[at * (len(uris) - 1) // (ROW_GROUPS - 1)]
        with suppress(InputError), parquet.open_file(uri) as file:
            group = at * (file.num_row_groups - 1) // (ROW_GROUPS - 1)
            if (uri, group) in read:
                continue
            read.add((uri, group))
            for row in _some_masks(file, group, uri):
                with suppress(rle.RleError):
                    order.add(*row)
    return order.require(source, force=force)


def _some_masks(file: PlainParquetFile, group: int, uri: str) -> list[tuple[bytes, int, int, str, object]]:
    """Return some masks of one row group, spread evenly, as `RunOrder.add` takes them."""
    names = file.schema_arrow.names
    if not file.num_row_groups or not set(COLUMNS) <= set(names):
        return []
    boxes = [name for name in BOXES if name in names][:1]
    table = file.read_row_group(group, [*COLUMNS, *boxes])
    table = table.filter(pc.is_valid(table["counts"]))
    table = table.take(pa.array(range(0, len(table), max(1, len(table) // MASKS)), pa.int64()))
    masks = conform(table.select(list(COLUMNS)), SCHEMA, uri).to_pylist()
    of_rows = table[boxes[0]].to_pylist() if boxes else [None] * len(masks)
    return [
        (row["counts"], row["height"], row["width"], f"video_id={row['video_id']} frame {row['frame_index']}", box)
        for row, box in zip(masks, of_rows, strict=True)
    ]
