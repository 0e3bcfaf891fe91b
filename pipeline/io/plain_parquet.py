"""A Parquet file whose tables have plain types, whoever wrote it: the one door of all tables."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.plain import plain_schema, plain_table


class PlainParquetFile(pq.ParquetFile):
    """`pyarrow.parquet.ParquetFile`, with plain types. Reading raises InputError if the content is damaged."""

    @property
    def schema_arrow(self) -> pa.Schema:
        return plain_schema(super().schema_arrow)

    def read(self, *args: Any, **options: Any) -> pa.Table:
        return self._plain(super().read, *args, **options)

    def read_row_group(self, *args: Any, **options: Any) -> pa.Table:
        return self._plain(super().read_row_group, *args, **options)

    def read_row_groups(self, *args: Any, **options: Any) -> pa.Table:
        return self._plain(super().read_row_groups, *args, **options)

    def _plain(self, read: Callable[..., pa.Table], *args: Any, **options: Any) -> pa.Table:
        try:
            return plain_table(read(*args, **options))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"the Parquet file cannot be read: {error}") from None
