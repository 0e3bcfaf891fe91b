"""Commit of a unit: its rows are spooled, then made visible as one object. The first writer wins.

The footer of the object holds the receipt, so one file has everything about a unit. A later generation may replace an
object that has error rows, also in one step: readers see either the old object or the new one.
"""

import contextlib
import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import checksum, local, parquet, storage
from pipeline.io.local_copy import local_file
from schemas.check import add_missing_columns
from schemas.errors import InfrastructureError, InputError, ReplacedError
from schemas.json_fields import known_fields
from schemas.json_text import parse_object
from schemas.masks import PREDICTIONS, chosen_rows
from schemas.pair import PAIR_COLUMNS, PairKey
from schemas.printable import counted
from schemas.shown import shown

RECEIPT_KEY = b"refervos.receipt"
SECONDS = ("decode", "model", "encode", "write")  # in three threads; encode and write share one
WAITS = ("waiting", "blocked")  # of the model's thread: for windows, and until its masks are taken
ERRORS_IN_RECEIPT = 3  # texts in a receipt
REPAIR = "repeat the command of the run with --repair, which replaces the unit"


@dataclass(slots=True)
class Receipt:
    """The outcome of one unit, and all that travels back to the driver."""

    unit_id: str
    fingerprint: str
    pairs: int = 0
    frames: int = 0  # rows with a mask, i.e. pair-frames
    failed: dict[str, int] = field(default_factory=dict)  # status -> pairs
    failed_before: dict[str, int] = field(default_factory=dict)  # of `failed`: in the run that is refined
    errors: list[str] = field(default_factory=list)  # the first ERRORS_IN_RECEIPT texts
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS + WAITS, 0.0))
    started: float = field(default_factory=time.time)  # seconds since the epoch, for people
    ended: float = 0.0  # `started` plus the seconds by a monotonic clock, so never before it
    parity: float | None = None  # share of mask pixels that differ from plain float32, where compared
    halvings: int = 0  # how often memory was full, so that the model took half as much at once
    generation: int = 0  # how often error rows of the unit were retried
    kept_pairs: int = 0  # of `pairs`: copied from the generation before
    kept_frames: int = 0  # of `frames`: copied likewise
    fresh: bool = True  # False: read from an object that already existed
    run_id: str = ""  # of run.json
    made_with: str = ""  # versions and device that may change pixels; empty in older units
    sealed: bool = False  # True: the file has a checksum, see `pipeline.io.checksum`
    left_out: list[list] = field(default_factory=list)  # of its videos: reason, count and place
    thin: int = 0  # refined pairs with a mask that prompted, and is too thin for the model
    first_thin: str = ""  # the first of them
    otherwise: dict[str, list[list[str]]] = field(default_factory=dict)  # other options than the run's -> their pairs
    version: str = ""  # of the object, as of `storage.version`; unknown in its own footer

    def note_left_out(self, found: Iterable[tuple[str, int, str]]) -> None:
        """Note what was left out of a video: reason, count and place. The same again is noted once."""
        for reason, count, place in found:
            if (entry := [reason, count, shown(place)]) not in self.left_out:
                self.left_out.append(entry)

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, slots=True)
class ReplacedObject:
    """A committed object that a later generation will replace.

    `version` (of `storage.version`) is the one that was read; `retried_pairs` holds the pairs to retry, whose error
    rows are not copied.
    """

    uri: str
    version: str
    receipt: Receipt | None  # None: the object is damaged, and nothing of it is kept
    retried_pairs: frozenset[PairKey]

    @classmethod
    def read(cls, uri: str, statuses: Collection[str]) -> Self:
        """Read the object at `uri`, to retry its pairs that failed with one of `statuses`."""
        version = storage.version(uri)  # first, so that a swap after this is noticed
        with parquet.open_file(uri) as file:
            receipt = receipt_of(file, uri)
            ids = file.read([*PAIR_COLUMNS, "status"])
        failed = ids.filter(pc.is_in(ids["status"], pa.array(list(statuses), pa.string())))
        return cls(uri, version, receipt, frozenset(PairKey.of_all(failed)))


def damage_of(uri: str) -> str | None:
    """Return the reason why a committed object cannot be read, or None if it is intact."""

    def read() -> str | None:
        with local_file(uri) as path:
            sealed = checksum.is_sealed(path)
            with parquet.open_file(path) as file:
                return fault_of(receipt_of(file, uri), uri, sealed=sealed)

    try:
        return storage.read_again(read)
    except Exception as error:  # damaged Parquet makes pyarrow raise many kinds
        local.raise_machine_failure(error, uri)
        return str(error) or type(error).__name__


def fault_of(receipt: Receipt, uri: str, *, sealed: bool) -> str | None:
    """Return why the file at `uri` is not what its receipt says, or None. sealed: it has a checksum."""
    if f"{receipt.unit_id}.parquet" != storage.file_name(uri):
        return f"it is a copy of unit {receipt.unit_id}"
    if receipt.sealed and not sealed:
        return "its checksum is missing: another program has rewritten the file"
    return None


class UnitWriter:
    """Write the rows of one unit, then commit them. Memory is one row group, for units of any length.

    With `replaced`, the new object also holds the rows of that object that are kept, and takes its place. A context
    manager: leaving it without `commit` leaves no file behind.
    """

    def __init__(self, uri: str, receipt: Receipt, replaced: ReplacedObject | None = None, otherwise: str = ""):
        """`otherwise`: the options of the new masks where they differ from those of the run."""
        self.uri, self.receipt, self.replaced, self.otherwise = uri, receipt, replaced, otherwise
        self._pairs: set[PairKey] = set()
        self._is_late = False  # True: another process has replaced the object meanwhile
        self._began = time.monotonic()
        receipt.started, receipt.sealed = time.time(), True

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as spool:  # which names a full disk, here too
            self._path = spool.enter_context(storage.spool(self.uri))
            self._writer = pq.ParquetWriter(self._path, PREDICTIONS, compression="zstd", write_page_checksum=True)
            if self.replaced:
                self._keep_rows(self.replaced)
            self._spool = spool.pop_all()
        return self

    def _keep_rows(self, replaced: ReplacedObject) -> None:
        """Copy the good rows of the object that is replaced. If it has been replaced by now, `commit` finds that."""
        self.receipt.generation = replaced.receipt.generation + 1 if replaced.receipt else 1
        if not replaced.receipt:
            return
        self.receipt.left_out += replaced.receipt.left_out
        self.receipt.thin, self.receipt.first_thin = replaced.receipt.thin, replaced.receipt.first_thin
        try:
            with parquet.open_file(replaced.uri) as file:
                for number in range(file.num_row_groups):  # each holds rows of one pair
                    rows = add_missing_columns(file.read_row_group(number), PREDICTIONS)
                    if pair_key(rows) not in replaced.retried_pairs:
                        self._write(rows)
        except ReplacedError:
            self._is_late = True
        self.receipt.kept_pairs, self.receipt.kept_frames = self.receipt.pairs, self.receipt.frames
        for options, pairs in replaced.receipt.otherwise.items():
            if kept := [pair for pair in pairs if PairKey(*pair) not in replaced.retried_pairs]:
                self.receipt.otherwise[options] = kept

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):  # such as a full disk; this content is not needed any more
            self._writer.close()
        self._spool.__exit__(*exc)  # pyright: ignore[reportArgumentType]

    def write(self, rows: pa.Table) -> None:
        """Append rows (PREDICTIONS) of one pair: masks, in one or several calls, or its one error row."""
        if self.otherwise and pair_key(rows) not in self._pairs and rows["status"][0].as_py() == "ok":
            self.receipt.otherwise.setdefault(self.otherwise, []).append(list(pair_key(rows)))
        self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        status, key = rows["status"][0].as_py(), pair_key(rows)
        if key not in self._pairs:
            self._pairs.add(key)
            self.receipt.pairs += 1
        if status == "ok":
            self.receipt.frames += chosen_rows(rows).num_rows
        else:
            self.receipt.failed[status] = self.receipt.failed.get(status, 0) + 1
            if len(self.receipt.errors) < ERRORS_IN_RECEIPT:
                self.receipt.errors.append(rows["error"][0].as_py() or "")
        self._writer.write_table(rows)

    def commit(self) -> Receipt:
        """Make the unit visible. If another attempt was first, compare its object and return its receipt.

        Raises InfrastructureError if that object holds other pairs, another fingerprint or an older generation.
        """
        self.receipt.ended = self.receipt.started + time.monotonic() - self._began
        self._writer.add_key_value_metadata({RECEIPT_KEY.decode(): self.receipt.to_json()})
        self._writer.close()
        checksum.seal(self._path)
        if self.replaced:
            visible = "" if self._is_late else storage.swap(self._path, self.uri, self.replaced.version)
        else:
            visible = storage.commit(self._path, self.uri)
        if visible:
            self.receipt.version = visible
            return self.receipt
        theirs = read_receipt(self.uri)
        if replace(theirs, fresh=True) == self.receipt:  # ours: the answer to its first upload was lost
            return self.receipt
        same = theirs.fingerprint == self.receipt.fingerprint and theirs.generation >= self.receipt.generation
        if not same or (unit_pairs(self.uri) != self._pairs and not self._is_late):
            raise InfrastructureError(f"{self.uri} holds other pairs or another fingerprint; run 'rvos audit'")
        return theirs


def read_receipt(uri: str) -> Receipt:
    """Return the receipt in the footer of a committed unit, with `fresh` False."""

    def read() -> Receipt:
        with parquet.open_file(uri) as file:
            return receipt_of(file, uri)

    try:
        return storage.read_again(read)
    except InputError as error:
        raise InputError(f"{error}; {REPAIR}") from None


def receipt_of(file: pq.ParquetFile, uri: str) -> Receipt:
    """Return the receipt as `read_receipt`, from an open file. Raises InfrastructureError if it has no receipt."""
    text = (file.metadata.metadata or {}).get(RECEIPT_KEY)
    if text is None:
        raise InfrastructureError(f"{uri} has no receipt in its footer: it was not written by 'rvos segment'")
    try:
        return parse_receipt(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise InfrastructureError(f"{uri}: its receipt is damaged ({error}); run 'rvos audit'") from None


def parse_receipt(text: str | bytes) -> Receipt:
    """Return the receipt that `Receipt.to_json` wrote, with `fresh` False.

    Raises ValueError or TypeError.
    """
    receipt = replace(Receipt(**known_fields(Receipt, parse_object(text))), fresh=False, version="")
    if not all(list(map(type, entry)) == [str, int, str] for entry in receipt.left_out):
        raise TypeError("left_out has an entry of another form")
    if not all(len(pair) == len(PAIR_COLUMNS) for pairs in receipt.otherwise.values() for pair in pairs):
        raise TypeError("otherwise has a pair of another form")
    return receipt


def mixed_text(made_with: Mapping[str, int]) -> str:
    """Describe a run whose units were made with different versions or devices: `Receipt.made_with` -> units."""
    listed = "; ".join(f"{counted(count, 'unit')} with {text}" for text, count in sorted(made_with.items()))
    return f"single pixels may differ between units: {listed}"


def unit_pairs(uri: str) -> set[PairKey]:
    """Return the pairs in a committed unit."""
    table = parquet.read_table(uri, PAIR_COLUMNS)
    return set(PairKey.of_all(table.group_by(table.column_names).aggregate([])))


def pair_key(rows: pa.Table) -> PairKey:
    """Return the pair of these rows, which all belong to one."""
    return PairKey(rows["video_id"][0].as_py(), rows["expression_id"][0].as_py())
