"""Audits of runs that were damaged in each way there is."""

import errno
import json
import random
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit
from pipeline.io import checksum, parquet, storage
from pipeline.runs.audit import Audit, _planned_units
from pipeline.runs.commit import RECEIPT_KEY, Receipt, UnitWriter
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from pipeline.runs.unit_content import UnitContent
from schemas.errors import InputError
from tests.handmade import error_of, manifest, rows_of, unit_of, write

PAIRS = [("a", "0"), ("a", "1"), ("b", "0"), ("c", "0")]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def run(request, tmp_path) -> Run:
    """A complete run of three units: a with two pairs, b with an error row, c."""
    folder = str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return complete_run(folder)


def complete_run(folder: str) -> Run:
    run = Run.start(folder, "f", {}, {})
    run.extend_plan(manifest(PAIRS), "m", PlanOptions(unit_frames=10))
    for unit in run.units():
        pairs = PlanReader(run).rows(unit).to_pylist()
        tables = [error_of("b", "0")] if pairs[0]["video_id"] == "b" else []
        write(run, unit.unit_id, tables or [rows_of(pair["video_id"], pair["expression_id"]) for pair in pairs])
    return run


@pytest.fixture
def local_run(tmp_path) -> Run:
    return complete_run(str(tmp_path / "run"))


def audited(run: Run, **options) -> dict:
    result = audit.run(audit.AuditConfig(run=run.folder, **options))
    assert storage.exists(run.success_uri) == (result.exit_code == 0)
    return {kind: value for kind, value in result.to_json().items() if kind in audit.KINDS and value}


def test_a_complete_run_is_clean(run):
    assert audited(run) == {}
    result = audit.run(audit.AuditConfig(run=run.folder)).to_json()
    assert (result["pairs"], result["with_masks"], result["failed"], result["frames"]) == (4, 3, {"missing": 1}, 9)


def test_an_absent_unit_is_missing(run):
    storage.remove(run.masks_uri(unit_of(run, "a")))
    assert audited(run) == {"missing": 2}


def test_an_absent_pair_is_missing(run):
    write(run, unit_of(run, "a"), [rows_of("a", "0")])
    assert audited(run) == {"missing": 1}


@pytest.mark.parametrize("extra", [rows_of("a", "0", 1), error_of("a", "0")], ids=["frame", "error"])
def test_rows_twice_are_duplicates(run, extra):
    write(run, unit_of(run, "a"), [rows_of("a", "0"), rows_of("a", "1"), extra])
    assert audited(run) == {"duplicate": 1}


def test_a_pair_in_anothers_unit_is_a_duplicate(run):
    write(run, unit_of(run, "c"), [rows_of("c", "0"), rows_of("a", "0")])
    assert audited(run) == {"duplicate": 1}


def test_rows_outside_the_plan_are_orphans(run):
    write(run, unit_of(run, "c"), [rows_of("c", "0"), rows_of("z", "0")])
    write(run, "other", [rows_of("y", "0")])
    assert audited(run) == {"orphan": 2}


def test_another_fingerprint_is_stale(run):
    write(run, unit_of(run, "c"), [rows_of("c", "0")], fingerprint="g")
    assert audited(run) == {"stale": 1}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "foreign"])
def test_damage_is_found_wherever_it_lies(run, damage):
    uri = run.masks_uri(unit_of(run, "c"))
    content = bytearray(storage.read_bytes(uri))
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[4:40] = bytes(byte ^ 0xFF for byte in content[4:40])
    elif damage == "empty":
        content = bytearray()
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"x": [1]}), sink)
        content = bytearray(sink.getvalue().to_pybytes())
    storage.write_bytes(uri, bytes(content))
    assert audited(run) == {"unreadable": 1, "missing": 1}


def flipped(content: bytes, start: int = 0):
    """Yield `content` with one bit of each byte flipped."""
    chance = random.Random(1)
    for at in range(start, len(content)):
        yield at, content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.slow), 23])
def test_no_flipped_bit_in_a_unit_is_overlooked(local_run, step):
    unit_id = unit_of(local_run, "a")
    path = Path(local_run.masks_uri(unit_id))
    content = path.read_bytes()
    read = partial(UnitContent.read, local_run, unit_id, {}, frame_step=1, allow_short=False)
    assert read().problem is None
    for at, changed in islice(flipped(content), 0, None, step):
        path.write_bytes(changed)
        assert read().problem, f"byte {at} of {len(content)}"


def test_no_flipped_bit_in_a_plan_changes_what_is_audited(local_run):
    path = Path(local_run.part_uri(0))
    content = path.read_bytes()
    magic = content.index(checksum.MAGIC)
    whole = audited(local_run)
    for at, changed in islice(flipped(content), 0, None, 3):
        path.write_bytes(changed)
        audit_made = Audit()
        units = list(_planned_units(audit_made, local_run, 0))
        if magic <= at < magic + len(checksum.MAGIC):  # as in a plan of an earlier version
            continue
        assert audit_made.counts["unreadable"] == 1, f"byte {at} of {len(content)}"
        assert not units
    assert whole == {}


@pytest.mark.parametrize("column", ["video_id", "expression_id", "expression", "video_uri"])
def test_a_plan_without_a_column_is_a_finding(local_run, column):
    write(local_run, "other", [rows_of("y", "0")])
    path = local_run.part_uri(0)
    parquet.write_table(path, parquet.read_table(path).drop_columns([column]))
    assert {"unreadable", "orphan"} & audited(local_run).keys()


@pytest.mark.parametrize("column", ["video_id", "expression_id", "unit_id"])
@pytest.mark.parametrize("values", [["a", None, "b", "c"], [1, 2, 3, 4]], ids=["null", "numbers"])
def test_a_plan_whose_ids_are_no_texts_is_a_finding(local_run, column, values):
    path = local_run.part_uri(0)
    plan = parquet.read_table(path)
    changed = plan.set_column(plan.column_names.index(column), column, pa.array(values))
    pq.write_table(changed, path)
    assert "unreadable" in audited(local_run)


def test_rows_taken_out_by_another_program_are_found(run):
    uri = run.masks_uri(unit_of(run, "a"))
    with parquet.open_file(uri) as file:
        receipt, rows = file.metadata.metadata[RECEIPT_KEY], file.read()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, rows.schema) as writer:
        writer.write_table(rows.slice(0, 4))
        writer.add_key_value_metadata({RECEIPT_KEY: receipt})
    storage.write_bytes(uri, sink.getvalue().to_pybytes())
    assert audited(run) == {"unreadable": 1, "missing": 2}


def test_a_receipt_that_states_more_than_there_is(run, monkeypatch):
    write_only = UnitWriter.commit

    def boast(writer):
        writer.receipt.frames += 1
        return write_only(writer)

    monkeypatch.setattr(UnitWriter, "commit", boast)
    write(run, unit_of(run, "c"), [rows_of("c", "0")])
    assert audited(run) == {"incomplete": 1}


@pytest.mark.parametrize(
    ("columns", "kept", "found"),
    [
        ({"frame_indices": [0, 1, 2]}, [0, 1, 2], {}),
        ({"frame_indices": [0, 1, 2]}, [0, 2], {"incomplete": 1}),
        ({"frame_indices": [0, 2]}, [0, 1, 2], {"incomplete": 1}),
        ({"frames": ["00000", "00002"]}, [0, 2], {}),
        ({"frames": ["00000", "00002"]}, [2], {"incomplete": 1}),
        ({"frames": ["00000", "00002"], "target_frames": ["00002"]}, [2], {}),
        ({"target_frames": ["00002"]}, [1], {"incomplete": 1}),
        ({}, [0, 1, 3], {"incomplete": 1}),
        ({}, [1, 2], {"incomplete": 1}),
    ],
)
def test_frames_are_those_that_were_requested(tmp_path, columns, kept, found):
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    row = {"video_id": "v", "video_uri": "/v", "expression_id": "0", "expression": "x"} | columns
    run.extend_plan(pa.Table.from_pylist([row]), "m", PlanOptions())
    rows = rows_of("v", "0", 4).take(kept)
    names = pa.array([f"{index:05d}" for index in kept])
    write(run, run.units()[0].unit_id, [rows.set_column(3, "frame_name", names)])
    assert audited(run) == found


def test_short_videos_may_lack_listed_frames_if_the_run_allows_it(tmp_path):
    run = Run.start(str(tmp_path / "run"), "f", {"allow_short": True, "frame_step": 2}, {})
    rows = [
        {"video_id": "v", "video_uri": "/v", "expression_id": "0", "expression": "x", "frame_indices": [0, 9]},
        {"video_id": "v", "video_uri": "/v", "expression_id": "1", "expression": "x", "frame_indices": None},
    ]
    run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions())
    write(run, run.units()[0].unit_id, [rows_of("v", "0", 1), rows_of("v", "1", 3).take([0, 2])])
    assert audited(run) == {}


def test_a_pair_may_lack_frames_if_its_retry_allowed_it(tmp_path):
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    row = {"video_id": "v", "video_uri": "/v", "expression": "x", "frame_indices": [0, 9]}
    run.extend_plan(pa.Table.from_pylist([row | {"expression_id": e} for e in "01"]), "m", PlanOptions())
    (unit,) = run.units()
    with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, "f"), otherwise="allow_short=True") as writer:
        writer.write(rows_of("v", "0", 1))
        writer.write(error_of("v", "1"))
        writer.commit()
    assert audited(run) == {}
    result = audit.run(audit.AuditConfig(run=run.folder))
    assert "pairs made with other options than the run: 1 with allow_short=True" in result.text()
    assert result.to_json()["otherwise"] == {"allow_short=True": 1}
    write(run, unit.unit_id, [rows_of("v", "0", 1), error_of("v", "1")])
    assert audited(run) == {"incomplete": 1}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("counts", [b"4", None, b"4"]),
        ("counts", [b"5", b"4", b"4"]),
        ("height", [2, 3, 2]),
        ("height", [3, 3, 3]),
        ("width", [2, 2, None]),
        ("frame_index", [0, 1, None]),
        ("status", ["ok", "ok", None]),
        ("status", ["ok", "ok", "fine"]),
        ("status", ["missing", "missing", "missing"]),
    ],
)
def test_rows_that_are_neither_masks_nor_errors(run, column, values):
    rows = rows_of("c", "0")
    field = rows.schema.field(column)
    rows = rows.set_column(rows.column_names.index(column), field, pa.array(values, field.type))
    write(run, unit_of(run, "c"), [rows])
    found = audited(run)
    assert found.keys() & {"invalid", "duplicate"}, found


def test_a_run_without_a_plan_is_not_clean(tmp_path):
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    assert audited(run) == {"missing": 1}
    assert "has no plan" in audit.run(audit.AuditConfig(run=run.folder)).text()


def test_an_absent_part_of_the_plan_is_missing(run):
    for video in ("d", "e"):
        run.extend_plan(manifest([*PAIRS, ("d", "0"), *[("e", "0")][: video == "e"]]), "m", PlanOptions(unit_frames=10))
        write(run, unit_of(run, video), [rows_of(video, "0")])
    run.write_log("1", {"plan": run.parts()})
    assert audited(run) == {}
    last = storage.read_bytes(run.part_uri(2))
    storage.remove(run.part_uri(2))
    assert audited(run) == {"missing": 1, "orphan": 1}
    storage.write_bytes(run.part_uri(2), last)
    storage.remove(run.part_uri(1))
    assert audited(run) == {"missing": 1, "orphan": 1}


def test_a_part_of_the_plan_under_two_numbers_is_found(run):
    storage.write_bytes(run.part_uri(1), storage.read_bytes(run.part_uri(0)))
    assert audited(run) == {"duplicate": len(PAIRS)}


@pytest.mark.parametrize("change", ["fewer", "more"])
def test_another_program_that_changes_the_rows_of_the_plan_is_found(local_run, change):
    """It leaves no checksum, as an earlier version did."""
    rows, path = parquet.read_table(local_run.part_uri(0)), Path(local_run.part_uri(0))
    first = PlanReader(local_run).rows(local_run.units()[0]).num_rows
    more = rows.slice(0, 1).set_column(rows.column_names.index("expression_id"), "expression_id", pa.array(["new"]))
    changed = [rows.slice(0, first - 1), rows.slice(first)] if change == "fewer" else [more, rows]
    pq.write_table(pa.concat_tables(changed), path)
    assert audited(local_run)["changed"] == 1


def test_a_manifest_beside_a_damaged_plan_is_a_finding(local_run, tmp_path):
    uri, path = str(tmp_path / "m.parquet"), local_run.part_uri(0)
    pq.write_table(manifest(PAIRS), uri)
    parquet.write_table(path, parquet.read_table(path).drop_columns(["row_hash"]))
    assert audited(local_run, manifest=uri) == {"unreadable": 1}
    storage.remove(path)
    assert audited(local_run, manifest=uri).keys() == {"missing", "orphan"}


def test_a_unit_under_another_name_is_stale(run):
    content = storage.read_bytes(run.masks_uri(unit_of(run, "a")))
    storage.write_bytes(run.masks_uri(unit_of(run, "c")), content)
    assert audited(run) == {"stale": 1, "missing": 1, "duplicate": 2}


@pytest.mark.parametrize("column", ["expression", "video_uri"])
def test_a_changed_manifest_is_found(run, tmp_path, column):
    uri = str(tmp_path / "m.parquet")
    rows = manifest(PAIRS).to_pylist()
    for row in rows[:2]:
        row[column] = "/other"
    pq.write_table(pa.Table.from_pylist(rows), uri)
    assert audited(run, manifest=uri) == {"changed": 2}


def test_the_seal_names_what_was_audited(run):
    run.extend_plan(manifest([*PAIRS, ("d", "0")]), "m", PlanOptions(unit_frames=10), manifest_digest="x /data 5")
    write(run, unit_of(run, "d"), [rows_of("d", "0")])
    assert audited(run) == {}
    seal = json.loads(storage.read_bytes(run.success_uri))
    assert (seal["plan"], seal["limit"], seal["generations"], seal["pairs"]) == ([0, 1], "5", 0, 5)


def test_a_plan_that_grows_during_the_audit_leaves_no_seal(local_run, monkeypatch):
    grow = partial(local_run.extend_plan, manifest([*PAIRS, ("d", "0")]), "m", PlanOptions(unit_frames=10))
    made = audit.audit_run

    def slow(run):
        found = made(run)
        grow()
        return found

    monkeypatch.setattr(audit, "audit_run", slow)
    result = audit.run(audit.AuditConfig(run=local_run.folder))
    assert "the plan has grown" in result.text()
    assert not storage.exists(local_run.success_uri)


def test_a_run_that_cannot_be_written_to_is_audited_all_the_same(local_run, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(storage, "write_bytes", refuse)
    result = audit.run(audit.AuditConfig(run=local_run.folder))
    assert result.exit_code == 0
    assert "_SUCCESS cannot be written: Permission denied" in result.text()


def test_a_manifest_may_have_more_and_less_than_the_plan(run, tmp_path):
    uri = str(tmp_path / "m.parquet")
    pq.write_table(manifest([*PAIRS[1:], ("d", "0")]), uri)
    assert audited(run, manifest=uri) == {"missing": 1, "orphan": 1}
    pq.write_table(manifest(PAIRS), uri)
    assert audited(run, manifest=uri) == {}


def test_growing_takes_the_seal_away(run):
    assert audited(run) == {}
    run.extend_plan(manifest([*PAIRS, ("d", "0")]), "m", PlanOptions(unit_frames=10))
    assert not storage.exists(run.success_uri)
    assert audited(run) == {"missing": 1}


def test_the_text_names_what_was_found(run):
    write(run, unit_of(run, "a"), [rows_of("a", "0")])
    text = audit.run(audit.AuditConfig(run=run.folder)).text()
    assert "missing    video_id=a expression_id=1 is missing in its unit" in text
    assert text.endswith("NOT clean")


def test_units_of_other_versions_are_noted(run):
    first = run.units()[0].unit_id
    storage.remove(run.masks_uri(first))
    with UnitWriter(run.masks_uri(first), Receipt(first, "f", made_with="torch 1, CPU")) as writer:
        for row in PlanReader(run).rows(run.units()[0]).to_pylist():
            writer.write(rows_of(row["video_id"], row["expression_id"], 10))
        writer.commit()
    result = audit.run(audit.AuditConfig(run=run.folder))
    assert result.exit_code == 0
    assert "single pixels may differ between units: 1 unit with torch 1, CPU; " in result.text()


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        audit.run(audit.AuditConfig(run=str(Path(tmp_path))))
