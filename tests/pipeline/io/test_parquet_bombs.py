"""Small Parquet files that unpack to gigabytes are an error before they take memory; honest ones are read."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io import parquet, parquet_pages, plain_parquet
from pipeline.io.plain_parquet import PlainParquetFile
from schemas.errors import InputError

ROWS = 200_000


def repeated(text: str) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(ROWS, np.int32)), pa.array([text]))


def lists(of: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, ROWS + 1, dtype=np.int32)), of)


BOMBS = {
    "text": repeated("x" * 30_000),
    "long text": repeated("x" * 30_000_000),
    "bytes": repeated("x" * 30_000).cast(pa.dictionary(pa.int32(), pa.binary())),
    "texts in lists": lists(repeated("x" * 30_000)),
    "numbers": pa.array(np.zeros(50_000_000, np.int64)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name):
    path = str(tmp_path / "t.parquet")
    table = pa.table({"video_id": BOMBS[name]})
    pq.write_table(table, path, compression="zstd", row_group_size=len(table))
    before = pa.default_memory_pool().max_memory()
    for read in (parquet.read_table, lambda uri: parquet.read_table(uri, ["video_id"])):
        with pytest.raises(InputError, match="unpacks to"):
            read(path)
    with parquet.open_file(path) as file, pytest.raises(InputError, match="unpacks to"):
        file.read_row_group(0)
    assert pa.default_memory_pool().max_memory() <= max(before, 2**28)


def test_many_row_groups_take_linear_time_and_absurdly_many_are_refused(tmp_path, monkeypatch):
    path = str(tmp_path / "t.parquet")
    table = pa.table({f"c{number}": pa.array(range(3000), pa.int16()) for number in range(30)})
    pq.write_table(table, path, row_group_size=1, write_statistics=False)
    assert parquet.read_table(path).num_rows == 3000  # 90,000 chunks of columns; quadratic: minutes
    monkeypatch.setattr(plain_parquet, "MAX_CHUNKS", 50_000)
    with pytest.raises(InputError, match="3000 row groups of 30 columns, too many"):
        parquet.read_table(path)


def test_columns_by_the_thousand_are_refused(tmp_path):
    """A table of 100,000 columns took eight seconds at each read. Nested columns count too."""
    plain = {f"c{number}": [1] for number in range(plain_parquet.MAX_COLUMNS)}
    path = str(tmp_path / "t.parquet")
    pq.write_table(pa.table(plain), path)
    assert parquet.read_table(path, ["c0", "c9999"]).to_pylist() == [{"c0": 1, "c9999": 1}]
    for more in (pa.table({**plain, "d": [1]}), pa.table({"c": [plain], "d": [1]})):
        pq.write_table(more, path)
        with pytest.raises(InputError, match="has 10001 columns, more than 10000; write it again"):
            parquet.read_table(path, ["d"])


def test_a_footer_that_would_take_memory_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "t.parquet"
    length = parquet_pages.MAX_FOOTER_BYTES + 1
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.seek(length + 4)
        file.write(length.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(InputError, match=f"a footer of {length} bytes"):
        parquet.read_table(str(path))


def varint(value: int, length: int = 0) -> bytes:
    """A number as Thrift writes it, zigzag, with zeros to `length` bytes."""
    value, found = value << 1, b""
    while value > 127 or len(found) < length - 1:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


@pytest.mark.parametrize("codec", ["zstd", "gzip", "brotli"])
@pytest.mark.parametrize("dictionary", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_page_that_is_larger_than_the_footer_says(tmp_path, codec, dictionary, version):
    """Arrow takes what a page claims: 31 kB took 10.9 GB."""
    path, text = tmp_path / "t.parquet", "x" * 100_000_000
    options = {"use_dictionary": dictionary, "data_page_version": version, "write_statistics": False}
    pq.write_table(pa.table({"video_id": [text]}), path, compression=codec, **options)
    content, chunk = path.read_bytes(), pq.read_metadata(path).row_group(0).column(0)
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    honest = varint(chunk.total_uncompressed_size)
    assert content[start:].count(honest) >= 1
    path.write_bytes(content[:start] + content[start:].replace(honest, varint(50, len(honest))))
    assert pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size == 50
    before = pa.total_allocated_bytes(), pa.default_memory_pool().max_memory()
    with pytest.raises(InputError, match="its footer says 50"):
        parquet.read_table(str(path))
    for in_one_request in (False, True):
        with parquet.open_file(str(path), in_one_request=in_one_request) as file:
            with pytest.raises(InputError, match="its footer says 50"):
                file.read_row_group(0)
            with pytest.raises(InputError, match="its footer says 50"):
                list(file.iter_batches(10))
    assert pa.total_allocated_bytes() - before[0] < 2**20
    assert pa.default_memory_pool().max_memory() <= max(before[1], 2**26)


def test_batches_of_a_bomb_are_refused(tmp_path):
    pq.write_table(pa.table({"video_id": BOMBS["long text"]}), tmp_path / "t.parquet", compression="zstd")
    with parquet.open_file(str(tmp_path / "t.parquet")) as file, pytest.raises(InputError, match="unpacks to"):
        list(file.iter_batches(10))


OPTIONS = [
    {"compression": codec, "data_page_version": version, "use_dictionary": dictionary, "data_page_size": 1000}
    | {"write_page_checksum": checksum, "write_page_index": checksum, "row_group_size": 700}
    for codec in ("zstd", "none", "snappy", "gzip", "lz4")
    for version in ("1.0", "2.0")
    for dictionary in (True, False)
    for checksum in (True, False)
]


@pytest.mark.parametrize("options", OPTIONS)
def test_sound_pages_of_every_form_are_read(tmp_path, options):
    rng = np.random.default_rng(0)
    table = pa.table({
        "text": [f"v{n % 300}" * (n % 7) for n in range(2000)],
        "number": rng.integers(0, 2**40, 2000),
        "share": rng.random(2000),
        "flag": rng.random(2000) > 0.5,
        "none": pa.nulls(2000, pa.int32()),
        "lists": [list(range(n % 5)) if n % 11 else None for n in range(2000)],
    })  # fmt: skip
    path = str(tmp_path / "t.parquet")
    for one in (table, table.slice(0, 1), table.slice(0, 0)):
        pq.write_table(one, path, **options)
        assert parquet.read_table(path) == one
        with parquet.open_file(path, in_one_request=True) as file:
            assert file.read(["lists", "flag"]) == one.select(["lists", "flag"])
            assert sum(len(batch) for batch in file.iter_batches(100)) == len(one)


def test_a_column_that_repeats_is_read(tmp_path):
    table = pa.table({"video_id": np.repeat(np.array([f"video-{i:05}" for i in range(100)]), 5000)})
    pq.write_table(table, tmp_path / "t.parquet", compression="zstd")
    assert parquet.read_table(str(tmp_path / "t.parquet")) == table


def test_every_damaged_byte_of_a_footer_is_an_error_or_is_read():
    """Arrow itself ends the process for some, such as sizes of a chunk that contradict its levels."""
    file = io.BytesIO()
    pq.write_table(pa.table({"a": [[1, None], None, [2]], "b": ["x", "y", None]}), file)
    sound, told = file.getvalue(), set()
    start = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little")
    for at in range(start, len(sound) - 8):
        for value in (0x00, 0x16, 0x7C):
            damaged = sound[:at] + bytes([value]) + sound[at + 1 :]
            try:
                PlainParquetFile(io.BytesIO(damaged)).read()
            except (InputError, pa.ArrowException, OSError) as error:
                told.add(str(error).partition(",")[0])
    assert any("histogram" in text for text in told)


def test_numbers_of_rows_that_contradict_are_refused_before_they_take_memory():
    """Arrow takes memory for the rows that a footer claims: 849 bytes took 24 GB."""
    file = io.BytesIO()
    pq.write_table(pa.table({"a": ["x"] * 75}), file)
    sound = file.getvalue()
    start, of_75 = len(sound) - 8 - int.from_bytes(sound[-8:-4], "little"), b"\x16\x96\x01"  # a field of 75, zigzag
    told = set()
    for at in range(start, len(sound) - 8):
        if sound[at : at + 3] != of_75:
            continue
        for claim in (b"\x16\xfe\xff\xff\xff\x0f", b"\x16\x98\x01", b"\x16\x94\x01", b"\x16\x01"):
            footer = sound[start:at] + claim + sound[at + 3 : -8]
            damaged = sound[:start] + footer + len(footer).to_bytes(4, "little") + b"PAR1"
            try:
                PlainParquetFile(io.BytesIO(damaged)).read()
            except (InputError, pa.ArrowException, OSError) as error:
                told.add(str(error).split(";")[0])
    assert {text for text in told if "rows for 75 values" in text}
    assert {text for text in told if text.endswith("rows and has 75")}
    assert pa.default_memory_pool().max_memory() < 2**30


def test_a_chunk_under_another_name_is_refused(tmp_path):
    """Sizes are checked by the name of a chunk, but Arrow reads chunks by their place in the footer."""
    pq.write_table(pa.table({"video_id": ["x"] * 5}), path := tmp_path / "t.parquet")
    sound, told = path.read_bytes(), set()
    for at in (at for at in range(len(sound)) if sound.startswith(b"video_id", at)):
        for name in (b"video_ix", b"vi\xff\xffo_id"):
            path.write_bytes(sound[:at] + name + sound[at + 8 :])
            try:
                parquet.read_table(str(path), columns=["video_id"])
            except InputError as error:
                told.add(str(error).partition(";")[0])
    assert f"{path} calls column 'video_id' also 'video_ix'" in told
    assert any("utf-8" in text for text in told)
    assert all(text.startswith(str(path)) for text in told)
