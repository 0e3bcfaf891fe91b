"""Readers beside a retry: each sees all rows of one state."""

import contextlib
import threading

import pyarrow as pa
import pytest

from pipeline.io import storage
from pipeline.masks.row_groups import list_row_groups, read_row_groups
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter, damage_of, read_receipt
from pipeline.runs.run import Run
from schemas.errors import ReplacedError
from tests.handmade import error_of, rows_of

SWAPS = 30
FRAMES = 400


def retry(uri: str, tables: list[pa.Table], status: str | None) -> None:
    """Replace the rows of pair (v, 1), as a retry of an actor does."""
    replaced = ReplacedObject.read(uri, [status or "missing"])
    if status is None:  # a good pair is made again, so that there is always something to replace
        replaced = ReplacedObject(replaced.uri, replaced.version, replaced.receipt, frozenset({("v", "1")}))
    with UnitWriter(uri, Receipt("u", "f"), replaced) as writer:
        for table in tables:
            writer.write(table)
        assert writer.commit().fresh


@pytest.mark.parametrize("place", ["local", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_reader_beside_a_retry_sees_one_state(place, tmp_path, request):
    base = str(tmp_path) if place == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    run = Run.start(f"{base}/run", "f", {}, {})
    uri, done = run.masks_uri("u"), threading.Event()
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("v", "0", FRAMES))
        writer.write(error_of("v", "1"))
        writer.commit()

    def retries() -> None:
        try:
            for number in range(SWAPS):
                good = number % 2 == 0
                retry(uri, [rows_of("v", "1", FRAMES) if good else error_of("v", "1")], "missing" if good else None)
        finally:
            done.set()

    writing = threading.Thread(target=retries)
    writing.start()
    seen = set()
    while not done.is_set():
        seen.add(storage.read_table(uri).num_rows)
        receipt = read_receipt(uri)
        assert (receipt.frames, receipt.failed) == ((FRAMES, {"missing": 1}), (2 * FRAMES, {}))[receipt.generation % 2]
        assert damage_of(uri) is None
        with contextlib.suppress(ReplacedError):
            seen.add(read_row_groups(group for group, _ in list_row_groups(uri)).num_rows)
    writing.join()
    assert seen <= {FRAMES + 1, 2 * FRAMES}
    assert read_receipt(uri).generation == SWAPS


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
