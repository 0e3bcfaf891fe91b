"""The receipts of committed units, in few objects: to learn how units ended, a command need not open each of them.

RUN/receipts/<invocation>-<n>.parquet has the columns of NOTES. A note holds while the file of its unit has the version
that the note names; listings show that. Receipts without a note are read from their units. Audits read all units.
"""

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Self

import pyarrow as pa

from pipeline.io import local, parquet, storage
from pipeline.io.parallel import bounded_map
from pipeline.runs.commit import REPAIR, Receipt, parse_receipt, read_receipt
from pipeline.runs.run import Run
from schemas.errors import InputError

FOLDER = "receipts"
READERS = 32  # footers read in parallel, which is mostly waiting for storage
NOTES_READERS = 8
NOTED_AT_ONCE = 4096  # receipts in one object
NOTES = pa.schema([("unit_id", pa.string()), ("version", pa.string()), ("receipt", pa.string())])


def receipts_of(run: Run, unit_ids: Iterable[str]) -> Iterator[Receipt]:
    """Yield the receipts of committed units in the order of `unit_ids`. `version` is set in those without a note.

    Raises InputError for a file that is damaged, or that is another unit.
    """
    unit_ids = list(unit_ids)
    if not unit_ids:
        return
    # First: if a unit is replaced after this, its old version never comes back, so that no note holds wrongly.
    versions = storage.versions(storage.join(run.folder, "masks"))
    noted = _noted(run, versions)

    def read(unit_id: str) -> Receipt:
        receipt = read_receipt(run.masks_uri(unit_id))
        if receipt.unit_id != unit_id:
            raise InputError(f"{run.masks_uri(unit_id)} is a copy of unit {receipt.unit_id}; {REPAIR}")
        return replace(receipt, version=versions.get(f"{unit_id}.parquet", ""))

    others = bounded_map(read, (unit_id for unit_id in unit_ids if unit_id not in noted), READERS)
    with contextlib.closing(others):
        for unit_id in unit_ids:
            yield parse_receipt(noted[unit_id]) if unit_id in noted else next(others)


def _noted(run: Run, versions: dict[str, str]) -> dict[str, str]:
    """Return the notes that hold: unit_id -> receipt as JSON."""
    folder = storage.join(run.folder, FOLDER)
    uris = [storage.join(folder, name) for name in storage.names(folder, missing_ok=True)]
    found = {}
    for notes in bounded_map(_read_notes, uris, NOTES_READERS):
        for unit_id, version, receipt in zip(*notes, strict=True):
            if version and versions.get(f"{unit_id}.parquet") == version:
                found[unit_id] = receipt
    return found


def _read_notes(uri: str) -> list[list]:
    """Return the columns of one object of notes. A damaged one has none: notes are hints."""
    try:
        table = parquet.read_table(uri, NOTES.names).cast(NOTES)
        for receipt in table["receipt"].to_pylist():
            parse_receipt(receipt or "")
    except (OSError, InputError, pa.ArrowInvalid, KeyError, ValueError, TypeError) as error:
        local.raise_machine_failure(error, uri)
        return [[], [], []]
    return [table[name].to_pylist() for name in NOTES.names]


class ReceiptNotes(contextlib.AbstractContextManager["ReceiptNotes"]):
    """Note receipts for later commands, also if this one fails."""

    def __init__(self, run: Run, invocation: str) -> None:
        self._run, self._prefix = run, storage.join(run.folder, FOLDER, invocation)
        self._numbers = itertools.count()
        self._rows: list[dict[str, str]] = []

    def add(self, receipt: Receipt) -> None:
        """Note a receipt, if the version of its object is known."""
        if receipt.version:
            self._rows.append({"unit_id": receipt.unit_id, "version": receipt.version, "receipt": receipt.to_json()})
        if len(self._rows) >= NOTED_AT_ONCE:
            self._write()

    def _write(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._run.require_there()
            uri = f"{self._prefix}-{next(self._numbers)}.parquet"
            parquet.write_table(uri, pa.Table.from_pylist(rows, NOTES))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with (
            contextlib.suppress(OSError) if error else contextlib.nullcontext()
        ):  # the first error is the one to report
            self._write()
