"""Receipts are noted, so that later commands need not open each unit; notes are hints."""

import json
import os
from dataclasses import asdict

import pyarrow as pa
import pytest

from pipeline.io import parquet, storage
from pipeline.runs import receipts
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter, parse_receipt
from pipeline.runs.log import latest_state
from pipeline.runs.receipts import NOTES, ReceiptNotes, receipts_of
from pipeline.runs.run import Run
from tests.handmade import error_of, rows_of

UNITS = [f"{number:020x}" for number in range(6)]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def run(request, tmp_path) -> Run:
    folder = str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    return Run.start(folder, "f", {}, {})


def commit(run: Run, unit_id: str, statuses: tuple[str, ...] = ()) -> Receipt:
    uri = run.masks_uri(unit_id)
    replaced = ReplacedObject.read(uri, statuses) if statuses else None
    with UnitWriter(uri, Receipt(unit_id, "f", run_id=run.run_id), replaced) as writer:
        writer.write(rows_of("v", unit_id) if statuses else error_of("v", unit_id))
        return writer.commit()


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """The units that are opened to read their receipts."""
    found, read = [], receipts.read_receipt
    monkeypatch.setattr(receipts, "read_receipt", lambda uri: (found.append(uri), read(uri))[1])
    return found


def note(run: Run, made: list[Receipt], name: str = "i") -> None:
    with ReceiptNotes(run, name) as notes:
        for receipt in made:
            notes.add(receipt)


def test_noted_receipts_are_not_read_again(run, opened, monkeypatch):
    monkeypatch.setattr(receipts, "NOTED_AT_ONCE", 2)
    note(run, [commit(run, unit_id) for unit_id in UNITS[:5]])
    commit(run, UNITS[5])
    assert len(storage.names(storage.join(run.folder, "receipts"))) == 3
    found = list(receipts_of(run, UNITS))
    assert opened == [run.masks_uri(UNITS[5])]
    assert [receipt.unit_id for receipt in found] == UNITS
    assert all(receipt.failed == {"missing": 1} and not receipt.fresh for receipt in found)
    note(run, found, "j")  # those that were read are noted too
    assert [receipt.unit_id for receipt in receipts_of(run, reversed(UNITS))] == UNITS[::-1]
    assert len(opened) == 1


def test_a_note_ends_with_the_file_that_it_is_about(run, opened):
    """Also if the note of the retry is missing, because its command was killed."""
    note(run, [commit(run, UNITS[0])])
    commit(run, UNITS[0], ("missing",))
    (receipt,) = receipts_of(run, UNITS[:1])
    assert (receipt.generation, receipt.frames, receipt.failed) == (1, 3, {})
    assert len(opened) == 1


def test_notes_survive_a_command_that_fails(run, opened):
    with pytest.raises(KeyboardInterrupt), ReceiptNotes(run, "i") as notes:
        notes.add(commit(run, UNITS[0]))
        raise KeyboardInterrupt
    assert [receipt.unit_id for receipt in receipts_of(run, UNITS[:1])] == UNITS[:1]
    assert opened == []


@pytest.mark.parametrize("damage", ["cut", "columns", "values", "text"])
def test_damaged_notes_stop_nobody(run, opened, damage):
    made = commit(run, UNITS[0])
    note(run, [made])
    uri = storage.join(run.folder, "receipts", "i-0.parquet")
    rows = {"unit_id": [made.unit_id], "version": [made.version], "receipt": ["{" if damage == "text" else None]}
    if damage == "cut":
        storage.write_bytes(uri, storage.read_bytes(uri)[:-9])
    elif damage == "columns":
        parquet.write_table(uri, pa.table({"unit_id": [made.unit_id]}))
    else:
        parquet.write_table(uri, pa.table(rows, NOTES))
    assert [receipt.unit_id for receipt in receipts_of(run, UNITS[:1])] == UNITS[:1]
    assert len(opened) == 1


ODD = [
    {"pairs": "1"}, {"pairs": 2.5}, {"pairs": True}, {"pairs": 10**400}, {"failed": {"missing": "1"}}, {"failed": []},
    {"errors": "text"}, {"errors": [1]}, {"ended": float("nan")}, {"ended": None}, {"seconds": {"model": []}},
    {"left_out": [["reason", 1]]}, {"left_out": [["reason", "1", "place"]]}, {"left_out": [[]]},
    {"otherwise": {"window=3": [["v"]]}}, {"otherwise": {"window=3": {"v": 1}}}, {"unit_id": None}, {"made_with": 1},
    {"generation": []}, {"parity": "0"}, {"fingerprint": {}},
]  # fmt: skip


@pytest.mark.parametrize("values", ODD, ids=str)
def test_a_receipt_of_other_types_is_damaged(values):
    text = json.dumps(asdict(Receipt(UNITS[0], "f")) | values)
    with pytest.raises((TypeError, ValueError)):
        parse_receipt(text)


def test_what_others_put_among_the_notes_and_records_stops_nobody(tmp_path):
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    commit(run, UNITS[0])
    for folder in ("receipts", "log"):
        place = tmp_path / "run" / folder
        (place / "a.json").mkdir(parents=True)
        (place / "b.parquet").symlink_to(place / "b.parquet")
        os.mkfifo(place / "c.json")
        (place / "d.json").write_text("[" * 10_000)
        (place / "e.json").write_text('{"state": ["running"], "pid": -1, "began": {}, "plan": "abc"}')
    (tmp_path / "run/_SUCCESS").mkdir()
    assert [receipt.unit_id for receipt in receipts_of(run, UNITS[:1])] == UNITS[:1]
    assert latest_state(run) == "['running']"
    assert not run.is_sealed(0)
