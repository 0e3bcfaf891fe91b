"""Paths in tables and documents of a run of somebody else lead to no file outside of it."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.runs import compact
from pipeline.runs.run import _units_of
from schemas.errors import InputError

ODD = ["../../secret", "/etc/passwd", "", "a" * 20 + "/..", "A" * 20, "0" * 19, "0" * 20 + "\n", "..", None]


@pytest.mark.parametrize("name", ODD)
def test_ids_of_units_have_their_exact_pattern(name):
    content = io.BytesIO()
    ids = pa.array(["0123456789abcdef0123", name], pa.string())
    pq.write_table(pa.table({"unit_id": ids, "pair_frames": pa.array([1, 1], pa.int32())}), content)
    with pytest.raises(InputError, match="not the id of a unit"):
        list(_units_of(0, pq.ParquetFile(content)))


@pytest.mark.parametrize("name", [*ODD, "part-00000-0123456789ab.parquet/../x", "part-00000-0123456789ab.parquet\n"])
def test_names_of_compacted_parts_have_their_exact_pattern(tmp_path, name):
    part = {"name": name, "pairs": 1, "rows": 1, "bytes": 1}
    values = dict.fromkeys(compact.Compacted.__dataclass_fields__, "")
    (tmp_path / compact.DOCUMENT).write_text(json.dumps(values | {"parts": [part]}))
    with pytest.raises(InputError, match="cannot read"):
        compact.read_document(str(tmp_path))
