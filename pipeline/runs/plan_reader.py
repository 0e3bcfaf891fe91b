"""Read the plan rows of units one by one, as an actor does for hours: the footer of a plan part is fetched once.

The footer of a plan with millions of rows has more than a megabyte, the rows of a unit a few hundred kilobytes.
"""

import contextlib
import threading

import pyarrow as pa

from pipeline.io import parquet
from pipeline.io.plain_parquet import PlainParquetFile
from pipeline.runs.run import PLAN_ROW_GROUP, Run, Unit

OPEN_PARTS = 4


class PlanReader:
    """The plan of a run, read by several threads. Plan parts never change, so a few of them stay open."""

    def __init__(self, run: Run):
        self.run = run
        self._open: dict[int, tuple[PlainParquetFile, contextlib.ExitStack]] = {}  # the last one was read last
        self._reading = threading.Lock()

    def rows(self, unit: Unit) -> pa.Table:
        """Read the plan rows of one unit; only the row groups that hold them are fetched, in one request."""
        first, last = unit.start // PLAN_ROW_GROUP, (unit.stop - 1) // PLAN_ROW_GROUP
        with self._reading:
            try:
                table = self._file(unit.part).read_row_groups(range(first, last + 1))
            except BaseException:
                if unit.part in self._open:
                    self._open.pop(unit.part)[1].close()
                raise
        return table.slice(unit.start - first * PLAN_ROW_GROUP, unit.stop - unit.start)

    def _file(self, part: int) -> PlainParquetFile:
        found = self._open.pop(part, None)
        if not found:
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(parquet.open_file(self.run.part_uri(part), in_one_request=True))
                found = file, stack.pop_all()
        self._open[part] = found
        if len(self._open) > OPEN_PARTS:
            self._open.pop(next(iter(self._open)))[1].close()
        return found[0]
