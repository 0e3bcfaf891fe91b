"""Frame rows of a clip on local disk, until the clip ends and shows which pairs failed."""

import contextlib
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from typing import Self

import pyarrow as pa

from pipeline.io import local
from schemas.masks import PREDICTIONS

FRAME_ROWS = pa.schema(
    [
        PREDICTIONS.field(name)
        for name in (
            "frame_index", "frame_name", "height", "width", "counts", "score", "box", "query", "chosen", "margin",
            "window",
        )
    ]
)  # fmt: skip
ROWS_AT_ONCE = 4096  # read back at once; becomes one row group of the unit's object


class FrameSpool:
    """Takes rows of several pairs in any order, and reads them back pair by pair.

    Memory is one batch while writing and ROWS_AT_ONCE rows while reading, however long the clip. The file has no name,
    so it disappears with the process, however that ends.
    """

    def __enter__(self) -> Self:
        with local.report_full_disk("rows of one clip", local.temp_folder()):
            self._file = tempfile.TemporaryFile(prefix="rvos-")
        self._writer = pa.ipc.new_file(self._file, FRAME_ROWS)
        self._batches: dict[int, list[int]] = defaultdict(list)  # pair -> positions in the file
        self._count = 0
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):  # a full disk, where closing would write the rest
            self._file.close()

    def add(self, pair: int, columns: dict[str, list]) -> None:
        """Append rows (FRAME_ROWS) of pair number `pair`."""
        with local.report_full_disk("rows of one clip", local.temp_folder()):
            self._writer.write_batch(pa.RecordBatch.from_pydict(columns, schema=FRAME_ROWS))
        self._batches[pair].append(self._count)
        self._count += 1

    def close(self) -> None:
        """End writing, so that reading may begin."""
        with local.report_full_disk("rows of one clip", local.temp_folder()):
            self._writer.close()
            self._file.flush()

    def read(self, pair: int) -> Iterator[pa.Table]:
        """Yield the rows (FRAME_ROWS) of one pair, about ROWS_AT_ONCE at a time."""
        reader = pa.ipc.open_file(self._file)
        waiting: list[pa.RecordBatch] = []
        for number in self._batches[pair]:
            waiting.append(reader.get_batch(number))
            if sum(batch.num_rows for batch in waiting) >= ROWS_AT_ONCE:
                yield pa.Table.from_batches(waiting)
                waiting = []
        if waiting:
            yield pa.Table.from_batches(waiting)
