"""Commit of a unit: its rows written beside, then made visible as one object, first writer wins.

The footer of that object holds the receipt, so that everything about a unit is known from the one file.
"""

import json
import time
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from schemas.errors import InfrastructureError
from schemas.masks import PREDICTIONS

RECEIPT_KEY = b"refervos.receipt"
SECONDS = ("decode", "model", "encode", "write")


@dataclass(slots=True)
class Receipt:
    """What became of one unit; the only thing that travels back to the driver."""

    unit_id: str
    fingerprint: str
    pairs: int = 0
    frames: int = 0  # rows with a mask, i.e. pair-frames
    failed: dict[str, int] = field(default_factory=dict)  # status -> pairs
    errors: list[str] = field(default_factory=list)  # the first few texts
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SECONDS, 0.0))
    started: float = field(default_factory=time.time)  # seconds since the epoch
    ended: float = 0.0
    generation: int = 0
    fresh: bool = True  # False: the unit was there already

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Receipt":
        return cls(**json.loads(text))


class UnitWriter:
    """Write the rows of one unit, then commit them; memory is one row group, whatever the unit's length.

    Used as a context manager: leaving it without `commit`, by an exception or not, leaves nothing behind.
    """

    def __init__(self, uri: str, receipt: Receipt):
        self.uri = uri
        self.receipt = receipt
        self._pairs: set[tuple[str, str]] = set()

    def __enter__(self) -> "UnitWriter":
        self._spool = storage.spool(self.uri)
        self._path = self._spool.__enter__()
        self._writer = pq.ParquetWriter(self._path, PREDICTIONS, compression="zstd")
        return self

    def __exit__(self, *exc: object) -> None:
        self._writer.close()
        self._spool.__exit__(None, None, None)

    def write(self, rows: pa.Table) -> None:
        """Append all rows (PREDICTIONS) of one pair: masks of every frame, or its one error row."""
        status = rows["status"][0].as_py()
        self._pairs.add((rows["video_id"][0].as_py(), rows["expression_id"][0].as_py()))
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

        Raises InfrastructureError if what is there holds other pairs or another fingerprint.
        """
        self.receipt.ended = time.time()
        self._writer.add_key_value_metadata({RECEIPT_KEY.decode(): self.receipt.to_json()})
        self._writer.close()
        if storage.commit(self._path, self.uri):
            return self.receipt
        theirs = read_receipt(self.uri)
        if theirs.fingerprint != self.receipt.fingerprint or unit_pairs(self.uri) != self._pairs:
            raise InfrastructureError(f"{self.uri} holds other pairs or another fingerprint; run 'rvos audit'")
        return theirs


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


def unit_pairs(uri: str) -> set[tuple[str, str]]:
    """(video_id, expression_id) of all pairs in a committed unit."""
    table = storage.read_table(uri, ["video_id", "expression_id"])
    groups = table.group_by(["video_id", "expression_id"]).aggregate([])
    return set(zip(groups["video_id"].to_pylist(), groups["expression_id"].to_pylist(), strict=True))
