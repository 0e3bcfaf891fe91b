"""Lists, tables of text and labels are read up to the limit of their kind, wherever they come from."""

import io
import tarfile
import tracemalloc

import pytest

from pipeline.datasets import davis, ref_davis17, webdataset
from pipeline.datasets.common import csv_file, row_file
from pipeline.training import recipe
from schemas.errors import InputError

LONG = b"expression\n" + b"x" * 1000


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "txt"])
def test_rows_of_sentences(tmp_path, monkeypatch, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(LONG)
    monkeypatch.setattr(row_file, "MAX_BYTES", 500)
    with pytest.raises((InputError, OSError), match="500 bytes"):
        list(row_file.read_rows(str(tmp_path / f"a.{suffix}"), (), ("csv", "tsv", "jsonl", "txt")))


def test_tables_of_data_sets_and_recipes(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_bytes(LONG)
    monkeypatch.setattr(csv_file, "MAX_TEXT_BYTES", 500)
    with pytest.raises((InputError, OSError), match="500 bytes"):
        csv_file.read_rows(str(tmp_path / "a.csv"))
    monkeypatch.setattr(recipe, "MAX_BYTES", 500)
    with pytest.raises((InputError, OSError), match="500 bytes"):
        recipe.read_recipe(str(tmp_path / "a.csv"))
    assert davis.MAX_LIST_BYTES == ref_davis17.MAX_TEXT_BYTES == 2**24


def test_labels_in_shards(tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "s.tar", "w") as shard:
        for name, content in (("a.mp4", b""), ("a.json", b'{"caption": "' + b"x" * 5000 + b'"}')):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(webdataset, "MAX_LABEL_BYTES", 1024)
    with pytest.raises(InputError, match="a.json of .* has more than"):
        list(webdataset.read(str(tmp_path)))


def test_columns_by_the_thousand_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text(
        "video_uri,expression," + ",".join(map(str, range(200_000))) + "\n" + "a,b\n" * 1000
    )
    with pytest.raises(InputError, match="has 200002 columns; at most 1000 are read"):
        list(row_file.read_rows(str(tmp_path / "a.csv"), ()))


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_lines_by_the_million_are_refused_before_they_take_memory(tmp_path, suffix):
    (tmp_path / f"a.{suffix}").write_bytes(b"expression\n" + b"12\n" * 2**23)
    tracemalloc.start()
    with pytest.raises(InputError, match="has 8388609 lines"):
        list(row_file.read_rows(str(tmp_path / f"a.{suffix}"), (), ("csv", "jsonl", "txt")))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100_000_000


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_short_lines_of_many_columns_are_refused_before_they_take_memory(tmp_path, end):
    (tmp_path / "a.csv").write_text("expression," + ",".join(map(str, range(500))) + end + f"a{end}" * 100_000)
    with pytest.raises(InputError, match=r"has 501\d+ values; at most 16777216 are read"):
        list(row_file.read_rows(str(tmp_path / "a.csv"), ()))


def test_many_values_in_lines_of_json_are_refused_before_they_take_memory(tmp_path):
    (tmp_path / "a.jsonl").write_text(("[" + "1," * 2**20 + "1]\n") * 17)
    with pytest.raises(InputError, match="has 17825809 values"):
        list(row_file.read_rows(str(tmp_path / "a.jsonl"), ()))


def test_a_line_without_an_end_takes_no_copy(tmp_path):
    (tmp_path / "a.csv").write_text("expression\n" + "x" * (2**24 + 1))
    tracemalloc.start()
    with pytest.raises(InputError, match="line 2 has more than 16777216 characters"):
        list(row_file.read_rows(str(tmp_path / "a.csv"), ()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2.5 * (tmp_path / "a.csv").stat().st_size


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_every_system(tmp_path, end):
    text = end.join(["expression,video", "the cat,a", "", '"a,' + end + 'dog",b', "last,c"])
    (tmp_path / "a.csv").write_text(text, newline="")
    rows = list(row_file.read_rows(str(tmp_path / "a.csv"), ()))
    assert [row for _, row in rows] == [
        {"expression": "the cat", "video": "a"},
        {"expression": f"a,{end}dog", "video": "b"},
        {"expression": "last", "video": "c"},
    ]
    assert [place for place, _ in rows][::2] == ["line 2", "line 6"]


def test_blanks_are_removed_in_linear_time(tmp_path):
    around = " \u200b\u3000\ufeff" * 200_000  # quadratic: hours
    assert row_file.without_blanks(f"{around}a b{around}") == "a b"
    assert all(row_file.without_blanks(f"{chr(code)}a") == "a" for code in range(0x110000) if chr(code).isspace())
