"""The same values in every Arrow type that pandas, polars, DuckDB, DataFusion, Spark and others write."""

import datetime
import decimal
import uuid

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io import parquet
from schemas.check import SchemaError, conform
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS
from schemas.plain import UNREADABLE, plain_table, plain_type, readable_table

ROW = {"video_id": ["v", "w"], "video_uri": ["v.mp4", "w.mp4"], "expression_id": ["0", "1"], "expression": ["a", "b"]}
UUID = uuid.UUID(int=1)
COLUMNS = {
    "dictionary": (pa.array(["x", None]).dictionary_encode(), pa.string(), ["x", None]),
    "large string": (pa.array(["x", "y"], pa.large_string()), pa.string(), ["x", "y"]),
    "string view": (pa.array(["x", None], pa.string_view()), pa.string(), ["x", None]),
    "large binary": (pa.array([b"x", b"\xff"], pa.large_binary()), pa.binary(), [b"x", b"\xff"]),
    "binary view": (pa.array([b"x", b"y"], pa.binary_view()), pa.binary(), [b"x", b"y"]),
    "large list of views": (
        pa.array([["x"], None], pa.large_list(pa.string_view())), pa.list_(pa.string()), [["x"], None],
    ),
    "list view": (pa.array([["x"], []], pa.list_view(pa.string())), pa.list_(pa.string()), [["x"], []]),
    "map": (
        pa.array([[("a", 1)], []], pa.map_(pa.string_view(), pa.int64())),
        pa.list_(pa.struct({"key": pa.string(), "value": pa.int64()})),
        [[{"key": "a", "value": 1}], []],
    ),
    "struct": (
        pa.array([{"a": "x"}, None], pa.struct({"a": pa.large_string()})), pa.struct({"a": pa.string()}),
        [{"a": "x"}, None],
    ),
    "null": (pa.nulls(2), pa.null(), [None, None]),
    "list of null": (pa.array([[], []]), pa.list_(pa.null()), [[], []]),
    "uuid": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID.bytes, None], pa.binary(16))), pa.string(),
        [str(UUID), None],
    ),
    "json": (
        pa.ExtensionArray.from_storage(pa.json_(pa.large_string()), pa.array(['{"a":1}'] * 2, pa.large_string())),
        pa.string(), ['{"a":1}'] * 2,
    ),
    "half": (pa.array(np.array([1, 2], np.float16)), pa.float32(), [1.0, 2.0]),
    "small decimal": (
        pa.array([decimal.Decimal("1.5")] * 2, pa.decimal32(5, 1)), pa.decimal128(5, 1), [decimal.Decimal("1.5")] * 2,
    ),
    "date": (pa.array([datetime.date(2024, 1, 1)] * 2), pa.date32(), [datetime.date(2024, 1, 1)] * 2),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_undeclared_columns_become_plain(tmp_path, name):
    column, wanted, values = COLUMNS[name]
    path = str(tmp_path / "m.parquet")
    pq.write_table(pa.table({**ROW, "kind": column}), path)
    table = conform(parquet.read_table(path), MANIFEST, path)
    assert (table["kind"].type, table["kind"].to_pylist()) == (wanted, values)
    assert table.take([1, 0])["kind"].to_pylist() == values[::-1]
    with parquet.open_file(path) as file:
        assert file.schema_arrow.field("kind").type == wanted
        assert file.read_row_group(0, ["kind"])["kind"].type == wanted


TEXTS = [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.binary_view()]


@pytest.mark.parametrize("text", TEXTS, ids=str)
def test_declared_text_in_every_form(text):
    columns = {name: pa.array(values).cast(text) for name, values in ROW.items()}
    assert conform(pa.table(columns), MANIFEST, "m").select(list(ROW)).equals(pa.table(ROW))


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1, 2]),
        pa.array([1.0, 2.0]),
        pa.array([1, 2], pa.uint8()).dictionary_encode(),
        pa.array([decimal.Decimal(1), decimal.Decimal(2)], pa.decimal128(38, 0)),
        pa.array([decimal.Decimal("1.00"), decimal.Decimal("2.00")]),
        pa.array([b"1", b"2"]),
        pa.array([b"1", b"2"], pa.binary(1)),
    ],
    ids=lambda ids: str(ids.type),
)
def test_whole_numbers_are_ids(ids):
    objects = pa.ListArray.from_arrays([0, 1, 2], ids) if not pa.types.is_dictionary(ids.type) else [["1"], ["2"]]
    table = conform(pa.table({**ROW, "video_id": ids, "object_ids": objects}), MANIFEST, "m")
    assert table["video_id"].to_pylist() == ["1", "2"]
    assert table["object_ids"].to_pylist() == [["1"], ["2"]]


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        (pa.array([1.5, 2.0]), "1.5 is no whole number; write such ids as texts"),
        (pa.array([decimal.Decimal("2.0"), decimal.Decimal("1.5")]), "1.5 is no whole number; write such ids as texts"),
        (pa.array([b"\xff"] * 2), ""),
    ],
)
def test_ids_that_would_change_are_refused(ids, reason):
    with pytest.raises(SchemaError, match=f"column 'video_id'.*{reason}"):
        conform(pa.table({**ROW, "video_id": ids}), MANIFEST, "m")


def test_decimal_ids_of_any_length():
    """DuckDB and Spark keep whole numbers of more than 64 bits as decimals."""
    ids = [10**37 + 1, -(10**30)]
    table = conform(pa.table({**ROW, "video_id": pa.array(map(decimal.Decimal, ids))}), MANIFEST, "m")
    assert table["video_id"].to_pylist() == [str(number) for number in ids]


def test_numbers_with_gaps_from_pandas():
    """A column of whole numbers with a null is a column of floats there; polars and NumPy write NaN."""
    for values in (pa.array([3.0, None]), pa.array([3.0, float("nan")])):
        table = conform(pa.table({**ROW, "num_frames": values}), MANIFEST, "m")
        assert table["num_frames"].to_pylist() == [3, None]


@pytest.mark.parametrize(
    "text", [pa.string(), pa.large_string(), pa.string_view(), pa.large_binary(), pa.binary_view()]
)
def test_masks_as_text_of_every_width(text):
    row = {"video_id": [1], "object_id": [2], "frame_index": [0], "height": [2], "width": [2]}
    table = conform(pa.table({**row, "counts": pa.array(["4"]).cast(text)}), ANNOTATIONS, "a")
    assert (table["counts"].to_pylist(), table["video_id"].to_pylist()) == ([b"4"], ["1"])


def test_plain_tables_are_not_copied():
    table = pa.table(ROW)
    assert plain_table(table) is table
    assert plain_type(pa.binary(8)) == pa.binary()


def test_bytes_that_are_no_text_are_marked_at_any_depth():
    raw = pa.array([[b"a\x88", None], None, []], pa.list_(pa.binary()))
    texts = pa.ListArray.from_arrays(raw.offsets, pa.Array.from_buffers(pa.string(), 2, raw.values.buffers()))
    fixed = pa.FixedSizeListArray.from_arrays(texts.values, 2)
    table = pa.table({"lists": texts, "number": [1, 2, 3]})
    readable = readable_table(table)
    assert readable.schema == table.schema
    assert readable["lists"].to_pylist() == [[f"a{UNREADABLE}", None], [], []]
    nested = pa.table({"structs": pa.StructArray.from_arrays([fixed], ["x"])})
    assert readable_table(nested)["structs"].to_pylist() == [{"x": [f"a{UNREADABLE}", None]}]


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_ids_that_floats_have_rounded_are_refused(kind):
    """Data sets of Hugging Face and pandas write whole numbers with gaps as floats, which round large ones."""
    limit = 2**53 if kind == pa.float64() else 2**24
    fits = pa.array([float(limit - 1), 1.0], kind)
    table = conform(pa.table({**ROW, "video_id": fits}), MANIFEST, "m")
    assert table["video_id"].to_pylist() == [str(limit - 1), "1"]
    rounded = pa.array([float(limit), 1.0], kind)
    for columns in ({"video_id": rounded}, {"object_ids": pa.ListArray.from_arrays([0, 1, 2], rounded)}):
        with pytest.raises(SchemaError, match=f"{limit} is a float, which rounds such numbers"):
            conform(pa.table({**ROW, **columns}), MANIFEST, "m")
