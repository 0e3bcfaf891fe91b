"""Audits of runs that were damaged in each way there is."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit
from pipeline.io import storage
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import Run
from schemas.errors import InputError
from tests.handmade import error_of, manifest, rows_of, unit_of, write

PAIRS = [("a", "0"), ("a", "1"), ("b", "0"), ("c", "0")]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def run(request, tmp_path) -> Run:
    """A complete run of three units: a with two pairs, b with an error row, c."""
    folder = str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    run = Run.start(folder, "f", {}, {})
    run.extend_plan(manifest(PAIRS), "m", PlanOptions(unit_frames=10))
    for unit in run.units():
        pairs = run.rows(unit).to_pylist()
        tables = [error_of("b", "0")] if pairs[0]["video_id"] == "b" else []
        write(run, unit.unit_id, tables or [rows_of(pair["video_id"], pair["expression_id"]) for pair in pairs])
    return run


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


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        audit.run(audit.AuditConfig(run=str(Path(tmp_path))))
