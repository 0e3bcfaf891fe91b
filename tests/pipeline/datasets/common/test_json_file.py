"""Large JSON: the same content as the library reads, entry by entry, and errors with their place."""

import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.common import json_file
from pipeline.datasets.common.json_file import SpooledEntries, entries, load
from schemas.errors import InputError, StorageError

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
)
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.text(max_size=4), v, max_size=4), max_leaves=12
)


def walk(value, depth, path=()):
    """Return what `entries` must yield, computed from the whole content."""
    if depth == 0 or not isinstance(value, dict | list):
        yield path, value
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield from walk(inner, depth - 1, (*path, key))


@given(VALUES, st.integers(0, 3), st.integers(1, 9), st.booleans())
def test_same_as_the_library(tmp_path_factory, value, depth, chunk, ascii_only):
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(value, ensure_ascii=ascii_only, indent=1), encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_file, "CHUNK", chunk)
        found = list(entries(str(path), depth))
    assert found == list(walk(value, depth))
    spooled = SpooledEntries()
    for number, (_, inner) in enumerate(found):
        spooled.add(str(number), inner)
    assert [spooled[str(number)] for number in reversed(range(len(found)))] == [inner for _, inner in reversed(found)]


@pytest.mark.parametrize(
    "text", ["", "{", '{"a": 1', '{"a" 1}', '{"a": [1,}', "[1 2]", "{} {}", '{"a": "', "[" * 99_999, '{"a":' * 9_999]
)
def test_not_sound(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
        list(entries(str(path), 2))
    with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
        load(str(path))


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "1e99999999999999999999", "1" * 5000])
def test_numbers_out_of_range_are_refused_in_small_and_large_files(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": [{number}]}}')
    for read in (load, lambda uri: list(entries(uri))):
        with pytest.raises(InputError, match=r"a\.json is not valid JSON"):
            read(str(path))


def test_doubles_and_no_utf8(tmp_path):
    path = tmp_path / "a.json"
    for text in (b'{"a": 1, "a": 2}', b'{"x": {"a": 1, "a": 2}}'):
        path.write_bytes(text)
        with pytest.raises(InputError, match="duplicate key 'a'"):
            list(entries(str(path), 1))
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(InputError, match="UTF8"):
        list(entries(str(path), 1))


@pytest.mark.parametrize("chunk", [1, 7, 12, 2**16])
@pytest.mark.parametrize("before", ["", "x" * 30, "\\\\", "\\\\" * 9, r"\ud83d\ude00"])
@pytest.mark.parametrize("lone", [r"\ud83d", r"\uDE00", r"\ud83d\u0041", r"\ud83d\ud83d\ude00", r"\ud83d\\ude00"])
def test_half_of_a_surrogate_pair(tmp_path, monkeypatch, chunk, before, lone):
    path = tmp_path / "a.json"
    path.write_text(f'{{"a": "{before}{lone}"}}')
    monkeypatch.setattr(json_file, "CHUNK", chunk)
    for read in (load, lambda uri: list(entries(uri))):
        with pytest.raises(InputError, match=r"a\.json is not valid JSON.*\\u.* is half of a surrogate pair"):
            read(str(path))
    for sound in (r"\ud83d\ude00", r"\\ud83d", r"\\\ud83d\ude00\\uDE00"):
        path.write_text(f'{{"a": "{before}{sound}"}}')
        assert dict(entries(str(path))) == {("a",): json.loads(path.read_text())["a"]}
        assert load(str(path)) == json.loads(path.read_text())


def test_full_temporary_disk(monkeypatch):
    spooled = SpooledEntries()
    monkeypatch.setattr(spooled, "_file", open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(StorageError, match="set TMPDIR to a larger disk"):
        spooled.add("a", "x")

    def fail(**_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(json_file.tempfile, "TemporaryFile", fail)
    with pytest.raises(StorageError, match="No space left on device"):
        SpooledEntries()


def test_byte_order_mark(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert list(entries(str(path), 1)) == [(("a",), 1)]
    assert load(str(path)) == {"a": 1}


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": "x" * 10_000}))
    monkeypatch.setattr(json_file, "MAX_ENTRY_BYTES", 1000)
    monkeypatch.setattr(json_file, "CHUNK", 100)
    with pytest.raises(InputError, match="an entry has more than"):
        list(entries(str(path), 1))
    monkeypatch.setattr(json_file, "MAX_BYTES", 1000)
    with pytest.raises(InputError, match="split it by videos"):
        load(str(path))
    with pytest.raises(InputError, match="does not exist"):
        list(entries(str(tmp_path / "gone.json")))


def test_doubled_keys_take_linear_time(tmp_path):
    keys = ",".join(f'"{number}":0' for number in range(300_000))
    (tmp_path / "a.json").write_text("{" + keys + ',"299999":1}')  # quadratic: an hour
    with pytest.raises(InputError, match="duplicate key '299999'"):
        json_file.load(str(tmp_path / "a.json"))


@pytest.mark.parametrize("entry", [b"{},", b"[],", b"1,", b'{"a":[]},'])
def test_small_values_by_the_million_are_refused_before_they_take_memory(tmp_path, entry):
    """Python would take twenty times the bytes of the text."""
    (tmp_path / "a.json").write_bytes(b'{"a":[' + entry * (2**25 // len(entry)) + b"1]}")
    with pytest.raises(InputError, match=r"a\.json has more than 8388608 values; split it by videos"):
        load(str(tmp_path / "a.json"))
    with pytest.raises(InputError, match="an entry has more than 8388608 values"):
        list(entries(str(tmp_path / "a.json")))
