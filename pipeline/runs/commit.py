"""Commit of a unit: its rows written beside, then made visible as one object, first writer wins.

The footer of that object holds the receipt, so that everything about a unit is known from the one file. An object with
error rows may be replaced by a later generation, in one step too: readers see the one or the other.
"""

import contextlib
import json
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import storage
from schemas.check import add_missing_columns
from schemas.errors import InfrastructureError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

RECEIPT_KEY = b"refervos.receipt"
SECONDS = ("decode", "model", "encode", "write")  # each in a thread of its own but the last two, which share one
WAITS = ("waiting", "blocked")  # of the model's thread: for windows, and until its masks were taken from it


@dataclass(slots=True)
class Receipt:
    """What became of one unit; the only thing that travels back to the driver."""

    unit_id: str
    fingerprint: str
    pairs: int = 0
    frames: int = 0  # rows with a mask, i.e. pair-frames
    failed: dict[str, int] = field(default_factory=dict)  # status -> pairs
    errors: list[str] = field(default_factory=list)  # the first few texts
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS + WAITS, 0.0))
    started: float = field(default_factory=time.time)  # seconds since the epoch, for people
    ended: float = 0.0  # `started` and the seconds it took, so never before it, whatever the wall clock does
    parity: float | None = None  # share of the masks' pixels that differed from plain float32, where it was compared
    halvings: int = 0  # how often memory was full, and the model was given half as much at once
    generation: int = 0  # how often error rows of the unit were done again
    kept_pairs: int = 0  # of `pairs`, copied from the generation before
    kept_frames: int = 0  # of `frames`, likewise
    fresh: bool = True  # False: the unit was there already

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt":
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ReplacedObject:
    """A committed object that a later generation is to replace.

    `version` is that of the object as it was read; `again` are the pairs whose error rows are not copied.
    """

    uri: str
    version: str
    receipt: Receipt
    again: frozenset[PairKey]

    @classmethod
    def read(cls, uri: str, statuses: Collection[str]) -> Self:
        """The object at `uri`, whose pairs that failed with one of `statuses` are to be done again."""
        version = storage.version(uri)  # first: a swap after this is noticed
        with storage.open_parquet(uri) as file:
            receipt = receipt_of(file, uri)
            ids = file.read(["video_id", "expression_id", "status"])
        failed = ids.filter(pc.is_in(ids["status"], pa.array(list(statuses), pa.string())))
        pairs = PairKey.of_all(failed)
        return cls(uri, version, receipt, frozenset(pairs))

    def kept(self) -> Iterator[pa.Table]:
        """The rows that stay as they are, one row group at a time, each of one pair."""
        with storage.open_parquet(self.uri) as file:
            for number in range(file.num_row_groups):
                rows = add_missing_columns(file.read_row_group(number), PREDICTIONS)
                if pair_key(rows) not in self.again:
                    yield rows


class UnitWriter:
    """Write the rows of one unit, then commit them; memory is one row group, whatever the unit's length.

    With `earlier`, the new object holds its good rows too and takes its place. Used as a context manager: leaving it
    without `commit`, by an exception or not, leaves nothing behind.
    """

    def __init__(self, uri: str, receipt: Receipt, earlier: ReplacedObject | None = None):
        self.uri = uri
        self.receipt = receipt
        self.earlier = earlier
        self._pairs: set[PairKey] = set()
        self._began = time.monotonic()
        receipt.started = time.time()

    def __enter__(self) -> Self:
        self._spool = storage.spool(self.uri)
        self._path = self._spool.__enter__()
        self._writer = pq.ParquetWriter(self._path, PREDICTIONS, compression="zstd")
        if self.earlier:
            for rows in self.earlier.kept():
                self.write(rows)
            self.receipt.generation = self.earlier.receipt.generation + 1
            self.receipt.kept_pairs, self.receipt.kept_frames = self.receipt.pairs, self.receipt.frames
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):  # of a disk that is full, say: this content is not wanted any more
            self._writer.close()
        self._spool.__exit__(*exc)  # pyright: ignore[reportArgumentType]

    def write(self, rows: pa.Table) -> None:
        """Append rows (PREDICTIONS) of one pair: masks of its frames, in one or several goes, or its one error row."""
        status, key = rows["status"][0].as_py(), pair_key(rows)
        if key not in self._pairs:
            self._pairs.add(key)
            self.receipt.pairs += 1
        if status == "ok":
            self.receipt.frames += rows.num_rows
        else:
            self.receipt.failed[status] = self.receipt.failed.get(status, 0) + 1
            if len(self.receipt.errors) < 3:
                self.receipt.errors.append(rows["error"][0].as_py())
        self._writer.write_table(rows)

    def commit(self) -> Receipt:
        """Make the unit visible. If another attempt was first, its object is compared and its receipt returned.

        Raises InfrastructureError if what is there holds other pairs, another fingerprint or an older generation.
        """
        self.receipt.ended = self.receipt.started + time.monotonic() - self._began
        self._writer.add_key_value_metadata({RECEIPT_KEY.decode(): self.receipt.to_json()})
        self._writer.close()
        if self._make_visible():
            return self.receipt
        theirs = read_receipt(self.uri)
        if replace(theirs, fresh=True) == self.receipt:  # ours: the first answer to its upload was lost
            return self.receipt
        same = theirs.fingerprint == self.receipt.fingerprint and theirs.generation >= self.receipt.generation
        if not same or unit_pairs(self.uri) != self._pairs:
            raise InfrastructureError(f"{self.uri} holds other pairs or another fingerprint; run 'rvos audit'")
        return theirs

    def _make_visible(self) -> bool:
        if self.earlier:
            return storage.swap(self._path, self.uri, self.earlier.version)
        return storage.commit(self._path, self.uri)


def read_receipt(uri: str) -> Receipt:
    """The receipt in a committed unit's footer, marked as not fresh."""
    with storage.open_parquet(uri) as file:
        return receipt_of(file, uri)


def receipt_of(file: pq.ParquetFile, uri: str) -> Receipt:
    """As `read_receipt`, of a file that is open. Raises InfrastructureError if there is none."""
    text = (file.metadata.metadata or {}).get(RECEIPT_KEY)
    if text is None:
        raise InfrastructureError(f"{uri} has no receipt in its footer: it was not written by 'rvos segment'")
    receipt = Receipt.from_json(text)
    receipt.fresh = False
    return receipt


def unit_pairs(uri: str) -> set[PairKey]:
    """All pairs in a committed unit."""
    table = storage.read_table(uri, ["video_id", "expression_id"])
    groups = table.group_by(["video_id", "expression_id"]).aggregate([])
    return set(PairKey.of_all(groups))


def pair_key(rows: pa.Table) -> PairKey:
    """The pair that rows of one pair are of."""
    return PairKey(rows["video_id"][0].as_py(), rows["expression_id"][0].as_py())
