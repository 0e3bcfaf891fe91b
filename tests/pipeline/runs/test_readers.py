"""Readers beside a retry and a compaction: each sees all rows of one state."""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pytest

from jobs import compact
from pipeline.io import parquet, storage
from pipeline.masks.row_groups import list_row_groups, read_row_groups
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter, damage_of, read_receipt
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import Run
from schemas.errors import InfrastructureError, ReplacedError
from tests.handmade import error_of, manifest, rows_of

SWAPS = 30
FRAMES = 400
COLUMNS = ["expression_id", "frame_index", "status"]


def retry(uri: str, tables: list[pa.Table], status: str | None) -> None:
    """Replace the rows of pair (v, 1), as a retry of an actor does."""
    replaced, unit_id = ReplacedObject.read(uri, [status or "missing"]), storage.file_name(uri).partition(".")[0]
    if status is None:  # a good pair is made again, so that there is always something to replace
        replaced = ReplacedObject(replaced.uri, replaced.version, replaced.receipt, frozenset({("v", "1")}))
    with UnitWriter(uri, Receipt(unit_id, "f"), replaced) as writer:
        for table in tables:
            writer.write(table)
        assert writer.commit().fresh


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def run(request, tmp_path) -> Run:
    """A run of one unit, of which one pair failed."""
    base = str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    run = Run.start(f"{base}/run", "f", {}, {})
    run.extend_plan(manifest([("v", "0"), ("v", "1")]), "m", PlanOptions())
    (unit,) = run.units()
    with UnitWriter(uri_of(run), Receipt(unit.unit_id, "f", run_id=run.run_id)) as writer:
        writer.write(rows_of("v", "0", FRAMES))
        writer.write(error_of("v", "1"))
        writer.commit()
    return run


def uri_of(run: Run) -> str:
    (unit,) = run.units()
    return run.masks_uri(unit.unit_id)


@contextlib.contextmanager
def retries(run: Run, swaps: int = SWAPS) -> Iterator[threading.Event]:
    """Replace the failed pair by its masks, and these by the failed pair, and so on. Yields what is set at the end."""
    uri, done = uri_of(run), threading.Event()

    def write() -> None:
        try:
            for number in range(swaps):
                good = number % 2 == 0
                retry(uri, [rows_of("v", "1", FRAMES) if good else error_of("v", "1")], "missing" if good else None)
        finally:
            done.set()

    writing = threading.Thread(target=write)
    writing.start()
    yield done
    writing.join()
    assert read_receipt(uri).generation == swaps


def by_arrow(folder: str) -> pa.Table:
    """With pyarrow's own S3, which does not ask whether an object is still the same."""
    where = folder.removeprefix("s3://")
    s3 = pyarrow.fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"]) if where != folder else None
    return ds.dataset(where, format="parquet", filesystem=s3).to_table(columns=COLUMNS)


def by_fsspec(folder: str) -> pa.Table:
    """As docs/runs.md advises."""
    files, where = fsspec.core.url_to_fs(folder, use_listings_cache=False)
    return ds.dataset(where, format="parquet", filesystem=files).to_table(columns=COLUMNS)


def by_duckdb(folder: str) -> pa.Table:
    with duckdb.connect() as connection:
        if not storage.is_local(folder):
            connection.register_filesystem(fsspec.filesystem("s3", use_listings_cache=False))
        relation = connection.sql(f"select {', '.join(COLUMNS)} from '{folder}/*.parquet'")
        return pa.table(relation.to_arrow_table())


def state(table: pa.Table) -> str:
    """Return "before" or "after" the retry, or what else the rows are."""
    frames = list(range(FRAMES))
    found = [table.filter(pc.equal(table["expression_id"], name)) for name in ("0", "1")]
    indices, statuses = (
        [sorted(each["frame_index"].to_pylist(), key=lambda i: i or 0) for each in found],
        found[1]["status"],
    )
    if indices == [frames, [None]] and statuses.to_pylist() == ["missing"]:
        return "before"
    if indices == [frames, frames] and set(statuses.to_pylist()) == {"ok"}:
        return "after"
    return f"{[len(each) for each in indices]}: {set(statuses.to_pylist())}"


@pytest.mark.parametrize("read", [by_arrow, by_fsspec, by_duckdb])
def test_other_programs_see_one_state_or_an_error(run, read):
    """An error is said by the program itself, and gone when it reads again."""
    folder, seen, errors = storage.parent(uri_of(run)), Counter(), Counter()
    with retries(run) as done:
        while not done.is_set():
            try:
                seen[state(read(folder))] += 1
            except Exception as error:
                errors[type(error).__name__] += 1
    assert seen.keys() <= {"before", "after"}
    assert state(read(folder)) == "before"
    if read is by_fsspec:
        assert errors.keys() <= {"FileExpired"}
    if read is not by_duckdb and storage.is_local(folder):
        assert not errors


def test_a_compaction_beside_a_retry_has_one_state_or_ends_with_an_error(run):
    seen, number = Counter(), 0
    with retries(run) as done:
        while not done.is_set():
            number += 1
            out = storage.join(storage.parent(run.folder), f"out-{number}")
            try:
                compact.run(compact.CompactConfig(run=run.folder, out=out))
            except InfrastructureError:
                assert not storage.exists(storage.join(out, "_compact.json"))
                continue
            seen[state(by_fsspec(out))] += 1
    assert seen.keys() <= {"before", "after"}
    assert state(by_fsspec(storage.parent(uri_of(run)))) == "before"


def test_a_compaction_leaves_readers_of_the_run_alone(run):
    ended = threading.Event()

    def compactions() -> None:
        try:
            for number in range(3):
                out = storage.join(storage.parent(run.folder), f"out-{number}")
                compact.run(compact.CompactConfig(run=run.folder, out=out))
        finally:
            ended.set()

    thread = threading.Thread(target=compactions)
    thread.start()
    seen = {state(by_arrow(storage.parent(uri_of(run))))}
    while not ended.is_set():
        seen.add(state(by_arrow(storage.parent(uri_of(run)))))
    thread.join()
    assert seen == {"before"}
    assert state(by_arrow(storage.join(storage.parent(run.folder), "out-2"))) == "before"


def test_a_reader_beside_a_retry_sees_one_state(run):
    uri, seen = uri_of(run), set()
    with retries(run) as done:
        while not done.is_set():
            seen.add(parquet.read_table(uri).num_rows)
            receipt = read_receipt(uri)
            expected = ((FRAMES, {"missing": 1}), (2 * FRAMES, {}))[receipt.generation % 2]
            assert (receipt.frames, receipt.failed) == expected
            assert damage_of(uri) is None
            with contextlib.suppress(ReplacedError):
                seen.add(read_row_groups(group for group, _ in list_row_groups(uri)).num_rows)
    assert seen <= {FRAMES + 1, 2 * FRAMES}


def test_row_groups_that_a_retry_has_replaced_since_they_were_listed_are_not_read(tmp_path):
    """Else the numbers of row groups would mean those of another file."""
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    uri = run.masks_uri("u")
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(error_of("v", "1"))
        writer.write(rows_of("v", "0"))
        writer.commit()
    groups = [group for group, _ in list_row_groups(uri)]
    assert read_row_groups(groups).num_rows == 4
    retry(uri, [rows_of("v", "1")], "missing")
    with pytest.raises(ReplacedError, match="was replaced by a retry since the command began; repeat the command"):
        read_row_groups(groups)
