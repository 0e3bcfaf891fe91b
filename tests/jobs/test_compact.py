"""Compacted data sets: all rows of the run, sorted, in few files, the same each time; and the audit of them."""

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs import audit, compact
from pipeline.io import parquet, storage
from pipeline.runs import compact as compacting
from pipeline.runs.commit import RECEIPT_KEY, Receipt, UnitWriter
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.retry import to_repair
from pipeline.runs.run import Run
from schemas.errors import InfrastructureError, InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from tests.handmade import error_of, make_older, manifest, rows_of, unit_of, write

ORDER = [("video_id", "ascending"), ("expression_id", "ascending"), ("frame_index", "ascending")]
PAIRS = [(f"v{video:02}", str(expression)) for video in range(12) for expression in range(3)]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def place(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture
def run(place) -> Run:
    """Two plan parts whose videos interleave; rows of pair (v, e) are e + 1 frames, v05 failed."""
    run = Run.start(storage.join(place, "run"), "f", {}, {})
    for pairs in (PAIRS[::2], PAIRS):
        run.extend_plan(manifest(pairs), "m", PlanOptions(unit_frames=60))
    for unit in run.units():
        pairs = [(row["video_id"], row["expression_id"]) for row in PlanReader(run).rows(unit).to_pylist()]
        tables = [error_of(v, e) if v == "v05" else rows_of(v, e, int(e) + 1) for v, e in reversed(pairs)]
        write(run, unit.unit_id, tables)
    return run


def made(run: Run, out: str) -> compact.CompactResult:
    return compact.run(compact.CompactConfig(run=run.folder, out=out))


def read(out: str, parts) -> pa.Table:
    return pa.concat_tables(parquet.read_table(storage.join(out, part.name)) for part in parts)


def found(run: Run, out: str) -> dict[str, int]:
    result = audit.run(audit.AuditConfig(run=run.folder, compacted=out))
    assert f"against {out}\n" in result.text()
    return {kind: result.audit.counts[kind] for kind in audit.KINDS if result.audit.counts[kind]}


def test_all_rows_are_there_sorted_and_the_run_stays_as_it_is(run, place):
    out = storage.join(place, "out")
    result = made(run, out)
    units = [parquet.read_table(run.masks_uri(unit.unit_id)) for unit in run.units()]
    expected = pa.concat_tables(units).sort_by(ORDER)
    assert read(out, result.compacted.parts).equals(expected)
    assert (result.compacted.pairs, result.compacted.rows) == (36, expected.num_rows)
    assert storage.names(out) == ["_compact.json", *(part.name for part in result.compacted.parts)]
    assert found(run, out) == {}
    again = made(run, out)
    assert not again.fresh
    assert "already existed" in again.text()


def test_units_of_before_there_were_margins_go_along(run, place):
    older = run.masks_uri(run.units()[0].unit_id)
    make_older(older)
    assert "margin" not in parquet.read_table(older).column_names
    out = storage.join(place, "out")
    rows = read(out, made(run, out).compacted.parts)
    assert rows.schema.equals(PREDICTIONS)
    assert rows.num_rows == 11 * 6 + 3
    assert found(run, out) == {}


def test_files_are_cut_between_videos_and_are_the_same_each_time(run, place, monkeypatch):
    monkeypatch.setattr(compacting, "FILE_BYTES", 4000)
    monkeypatch.setattr(compacting, "GROUP_BYTES", 400)
    first, second = storage.join(place, "first"), storage.join(place, "second")
    parts = made(run, first).compacted.parts
    assert len(parts) > 2
    storage.write_bytes(storage.join(second, compacting.STARTED), b"{}")
    storage.write_bytes(storage.join(second, parts[0].name), b"left by a killed try")
    storage.write_bytes(storage.join(second, "part-00099-0123456789ab.parquet"), b"left by another one")
    assert made(run, second).compacted.parts == parts
    videos = []
    for part in parts:
        content = storage.read_bytes(storage.join(first, part.name))
        assert content == storage.read_bytes(storage.join(second, part.name))
        assert len(content) == part.bytes
        groups = pq.ParquetFile(pa.BufferReader(content)).metadata
        assert groups.num_row_groups > 1  # no more rows wait than a row group takes
        videos.append(set(parquet.read_table(storage.join(first, part.name))["video_id"].to_pylist()))
    assert sum(map(len, videos)) == len(set().union(*videos)) == 12
    assert storage.names(second) == ["_compact.json", *(part.name for part in parts)]


@pytest.mark.parametrize("name", ["part-0.parquet", "part-00000.parquet", "part-00000-0123456789ab.parquet"])
def test_files_of_other_programs_are_left_alone(run, place, name):
    mine = storage.join(place, "out", name)
    storage.write_bytes(mine, b"mine")
    with pytest.raises(InputError, match=f"is not empty .it holds {name}"):
        made(run, storage.join(place, "out"))
    assert storage.read_bytes(mine) == b"mine"


def test_a_retry_between_two_compactions_leaves_one_whole_data_set(run, place, monkeypatch):
    """The second one starts after a retry and ends first: the first one must not write into it."""
    out, write_parts, results = storage.join(place, "out"), compacting._write_parts, []

    def slow(*arguments):
        monkeypatch.setattr(compacting, "_write_parts", write_parts)
        parts = list(write_parts(*arguments))
        unit = run.units()[0]
        storage.remove(run.masks_uri(unit.unit_id))
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, "f", generation=1)) as writer:
            for pair in PairKey.of_all(PlanReader(run).rows(unit)):
                writer.write(rows_of(*pair))
            writer.commit()
        results.append(made(run, out))
        return parts

    monkeypatch.setattr(compacting, "_write_parts", slow)
    with pytest.raises(InfrastructureError, match="has changed while it was copied"):
        made(run, out)
    assert results[0].fresh
    assert found(run, out) == {}
    assert storage.names(out) == ["_compact.json", *(part.name for part in results[0].compacted.parts)]


def test_half_a_compaction_is_not_read(run, place, monkeypatch):
    def fail(*_):
        raise RuntimeError

    monkeypatch.setattr(compacting, "_write_part", fail)
    out = storage.join(place, "out")
    with pytest.raises(RuntimeError):
        made(run, out)
    with pytest.raises(InputError, match="is not complete"):
        compacting.complete_parts(out)


def test_a_repeat_removes_what_a_killed_compaction_left(run, place, monkeypatch):
    """Killed after the document was created: parts from before a retry would double rows for other programs."""
    out, remove = storage.join(place, "out"), storage.remove
    old = storage.join(out, f"part-00000-{12 * 'a'}.parquet")

    def killed(uri):
        if uri == old:
            raise KeyboardInterrupt
        remove(uri)

    storage.write_bytes(storage.join(out, compacting.STARTED), b"{}")
    parquet.write_table(old, rows_of("v", "0"))
    monkeypatch.setattr(compacting.storage, "remove", killed)
    with pytest.raises(KeyboardInterrupt):
        made(run, out)
    assert {"_compact.json", "_compact_started.json"} < set(storage.names(out))
    monkeypatch.undo()
    again = made(run, out)
    assert not again.fresh
    assert storage.names(out) == ["_compact.json", *(part.name for part in again.compacted.parts)]


def test_it_reads_as_a_data_set(run, tmp_path):
    made(run, str(tmp_path / "out"))
    assert ds.dataset(str(tmp_path / "out")).to_table().num_rows == 11 * 6 + 3


def test_what_cannot_be_is_refused(run, place):
    with pytest.raises(InputError, match="is inside"):
        made(run, storage.join(run.folder, "masks"))
    storage.write_bytes(storage.join(place, "else", "file"), b"mine")
    with pytest.raises(InputError, match="it holds file"):
        made(run, storage.join(place, "else"))
    out = storage.join(place, "out")
    made(run, out)
    run.extend_plan(manifest([*PAIRS, ("w", "0")]), "m", PlanOptions())
    with pytest.raises(InputError, match="it lacks 1 of .* units"):
        made(run, storage.join(place, "new"))
    write(run, unit_of(run, "w"), [rows_of("w", "0")])
    with pytest.raises(InputError, match="before it changed; choose a new folder"):
        made(run, out)
    with pytest.raises(InputError, match="not complete"):
        found(run, storage.join(place, "else"))


def test_the_audit_finds_every_difference(run, place):
    out = storage.join(place, "out")
    (part,) = made(run, out).compacted.parts
    uri = storage.join(out, part.name)
    rows = parquet.read_table(uri)

    def audited(table: pa.Table) -> dict[str, int]:
        parquet.write_table(uri, table)
        return found(run, out)

    assert audited(rows) == {}
    assert audited(rows.slice(0, rows.num_rows - 3)) == {"missing": 1}
    assert audited(pa.concat_tables([rows, rows_of("x", "0")])) == {"orphan": 1}
    assert audited(pa.concat_tables([rows.slice(0, 1), rows])) == {"duplicate": 1}
    assert audited(pa.concat_tables([rows, rows.slice(0, 1)])) == {"orphan": 1}
    changed = rows.set_column(rows.column_names.index("height"), "height", pa.array([3] * rows.num_rows, pa.int32()))
    assert audited(pa.concat_tables([changed.slice(0, 1), rows.slice(1)])) == {"stale": 1}
    storage.write_bytes(uri, b"damaged")
    assert found(run, out) == {"missing": 36, "unreadable": 1}
    assert not storage.exists(run.success_uri)


def test_the_command_line(run, place):
    out = storage.join(place, "out")
    result = CliRunner().invoke(main, ["compact", run.folder, "--out", out, "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["pairs"] == 36
    result = CliRunner().invoke(main, ["audit", run.folder, "--compacted", out])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(main, ["compact", storage.join(place, "none"), "--out", out])
    assert (result.exit_code, "is not a run" in result.output) == (2, True)


@pytest.mark.parametrize(("fault", "text"), [("copy", "is a copy of unit"), ("rows", "its checksum is missing")])
def test_a_unit_that_is_not_what_its_receipt_says_is_not_copied(run, place, fault, text):
    uri, other = [run.masks_uri(unit.unit_id) for unit in run.units()[:2]]
    if fault == "copy":
        storage.write_bytes(uri, storage.read_bytes(other))
    else:
        with parquet.open_file(uri) as file:
            sink, rows, receipt = pa.BufferOutputStream(), file.read(), file.metadata.metadata[RECEIPT_KEY]
        with pq.ParquetWriter(sink, rows.schema) as writer:
            writer.write_table(rows.slice(1))
            writer.add_key_value_metadata({RECEIPT_KEY: receipt})
        storage.write_bytes(uri, sink.getvalue().to_pybytes())
    with pytest.raises(InputError, match=f"{uri} .*{text}.*--repair"):
        made(run, storage.join(place, "out"))
    assert [unit.unit_id for unit in to_repair(run, run.units(), run.committed())] == [run.units()[0].unit_id]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_units_are_named_and_not_copied(run, place, damage):
    uri, out = run.masks_uri(run.units()[0].unit_id), storage.join(place, "out")
    content = bytearray(storage.read_bytes(uri))
    if damage == "flipped":
        content[40] ^= 4
    storage.write_bytes(uri, bytes(content[: {"cut": -20, "flipped": None, "empty": 0}[damage]]))
    with pytest.raises(InputError, match="--repair"):
        made(run, out)
    assert not storage.exists(storage.join(out, "_compact.json"))
