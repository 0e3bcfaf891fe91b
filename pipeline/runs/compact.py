"""A run as few large files sorted by video, for readers that care: a separate data set, and the run stays as it is.

OUT/part-00000.parquet ...  PREDICTIONS by video and expression, about FILE_BYTES each, a video whole in one file
OUT/_compact.json           what they were made of, and their sizes; written last: with it the data set is complete
"""

import hashlib
import heapq
import io
import itertools
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.parallel import bounded_map
from pipeline.runs.run import Run
from pipeline.runs.units import Key, pair_key
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.masks import PREDICTIONS

DOCUMENT = "_compact.json"
FILE_BYTES = 128 * 2**20
GROUP_BYTES = 16 * 2**20  # of a row group, before compression
READERS = 4  # units read ahead, in their compressed form


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the data set."""

    name: str
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What DOCUMENT says. `content` tells the state of the run: hash of all units with their generations."""

    run: str
    fingerprint: str
    content: str
    pairs: int
    rows: int
    parts: tuple[Part, ...]


def compact_run(run: Run, out: str) -> tuple[Compacted, bool]:
    """Write the data set to the folder `out`; returns what is there now, and whether it was there before.

    Raises InputError if the run is not finished, or `out` lies in it, holds something else, or another state of it.
    """
    if f"{out}/".startswith(f"{run.folder}/"):
        raise InputError(f"{out} lies in the run, which stays as it is; name a folder outside")
    content = run_content(run)
    there = read_document(out)
    if there is not None:
        if (there.fingerprint, there.content) != (run.fingerprint, content):
            raise InputError(f"{out} was made of another run, or of this one before it changed; name a new folder")
        return there, True
    strange = [name for name in _names(out) if not (name.startswith("part-") and name.endswith(".parquet"))]
    if strange:
        raise InputError(f"{out} holds something else ({strange[0]}); name a new folder")
    writer = _PartsWriter(out)
    for rows in sorted_rows(run):
        writer.add(rows)
    parts = writer.finish()
    for name in set(_names(out)) - {part.name for part in parts}:  # of a try that was killed, before the run changed
        storage.remove(storage.join(out, name))
    rows = sum(part.rows for part in parts)
    made = Compacted(run.folder, run.fingerprint, content, writer.pairs, rows, tuple(parts))
    storage.write_bytes(storage.join(out, DOCUMENT), (json.dumps(asdict(made), indent=2) + "\n").encode())
    return made, False


def read_document(out: str) -> Compacted | None:
    """What DOCUMENT says; None if there is none. Raises InputError if it is damaged."""
    uri = storage.join(out, DOCUMENT)
    try:
        values = json.loads(storage.read_bytes(uri, limit=100_000_000))
        return Compacted(**values | {"parts": tuple(Part(**part) for part in values["parts"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{uri} cannot be read ({error}); compact the run to a new folder") from None


def run_content(run: Run) -> str:
    """Hash of what a finished run holds. Raises InputError if units are missing."""
    units = sorted({unit.unit_id for unit in run.units()})
    missing = len(units) - len(run.committed() & set(units))
    if missing or not units:
        raise InputError(f"{run.folder} is not finished: {missing} of {len(units)} units are missing; segment it first")
    digest = hashlib.sha256()
    for receipt in run.receipts(units):
        digest.update(f"{receipt.unit_id} {receipt.generation}\n".encode())
    return digest.hexdigest()


def sorted_rows(run: Run) -> Iterator[pa.Table]:
    """All rows of a finished run by video and expression; each table is of one pair, long pairs are several.

    Units cover ranges of keys that hardly overlap, so few are open at a time.
    """
    firsts = deque(_first_keys(run))
    contents = bounded_map(lambda unit: storage.read_bytes(run.masks_uri(unit[1])), tuple(firsts), READERS)
    opened: list[tuple[Key, str, _UnitReader]] = []  # a heap
    while firsts or opened:
        while firsts and (not opened or firsts[0][0] <= opened[0][0]):
            unit_id = firsts.popleft()[1]
            reader = _UnitReader(run.masks_uri(unit_id), next(contents))
            heapq.heappush(opened, (reader.key, unit_id, reader))
        _, unit_id, reader = heapq.heappop(opened)
        yield from reader.next_pair()
        if reader.pairs:
            heapq.heappush(opened, (reader.key, unit_id, reader))


def compacted_rows(out: str, parts: Sequence[Part]) -> Iterator[pa.Table]:
    """All rows of a data set in their order, each table of one pair. Raises InputError if a file is not readable."""
    for part in parts:
        with storage.open_parquet(storage.join(out, part.name)) as file:
            for number in range(file.num_row_groups):
                try:
                    rows = file.read_row_group(number)
                except StorageError:
                    raise
                except (OSError, pa.ArrowInvalid) as error:
                    raise InputError(f"{part.name} cannot be read: {error}") from None
                yield from _split(rows)


def by_pair(tables: Iterable[pa.Table]) -> Iterator[tuple[Key, pa.Table]]:
    """Consecutive tables of the same pair put together."""
    for key, group in itertools.groupby(tables, pair_key):
        yield key, pa.concat_tables(group)


def _first_keys(run: Run) -> list[tuple[Key, str]]:
    """The first pair of each unit, and its unit_id, in order. Within a unit the plan is sorted."""
    found = {}
    for part in run.parts():
        plan = run.read_part(part, ["unit_id", "video_id", "expression_id"])
        ids = plan["unit_id"].combine_chunks()
        starts = np.flatnonzero(np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)))
        for row in plan.take(starts).to_pylist():
            found.setdefault(row["unit_id"], (row["video_id"], row["expression_id"]))
    return sorted((key, unit_id) for unit_id, key in found.items())


class _UnitReader:
    """One unit's object in memory, compressed; its pairs are read in order, row group by row group."""

    def __init__(self, uri: str, content: bytes):
        self.uri = uri
        self._file = pq.ParquetFile(io.BytesIO(content))
        groups: dict[Key, list[int]] = {}
        for number in range(self._file.num_row_groups):
            ids = self._file.read_row_group(number, ["video_id", "expression_id"])
            if len(ids.group_by(ids.column_names).aggregate([])) != 1:
                raise InfrastructureError(f"{uri} mixes pairs in one row group: it was not written by 'rvos segment'")
            groups.setdefault(pair_key(ids), []).append(number)
        self.pairs = deque(sorted(groups.items()))

    @property
    def key(self) -> Key:
        """Of the next pair."""
        return self.pairs[0][0]

    def next_pair(self) -> Iterator[pa.Table]:
        for number in self.pairs.popleft()[1]:
            yield self._file.read_row_group(number)


@dataclass(slots=True)
class _PartsWriter:
    """Files of about FILE_BYTES, cut between videos; memory is one row group."""

    out: str
    pairs: int = 0
    done: list[Part] = field(default_factory=list)
    _waiting: list[pa.Table] = field(default_factory=list)
    _last: Key | None = None
    _file: "_PartFile | None" = None

    def add(self, rows: pa.Table) -> None:
        key = pair_key(rows)
        if self._last and key[0] != self._last[0] and self._file and self._file.size + self._bytes >= FILE_BYTES:
            self._close()
        self.pairs += key != self._last
        self._last = key
        self._waiting.append(rows)
        if self._bytes >= GROUP_BYTES:
            self._flush()

    def finish(self) -> list[Part]:
        if self._waiting or self._file:
            self._close()
        return self.done

    @property
    def _bytes(self) -> int:
        return sum(table.nbytes for table in self._waiting)

    def _flush(self) -> None:
        self._file = self._file or _PartFile(storage.join(self.out, f"part-{len(self.done):05d}.parquet"))
        self._file.write(pa.concat_tables(self._waiting))
        self._waiting = []

    def _close(self) -> None:
        if self._waiting:
            self._flush()
        assert self._file
        self.done.append(self._file.commit())
        self._file = None


class _PartFile:
    """One file on its way."""

    def __init__(self, uri: str):
        self.uri = uri
        self.rows = 0
        self._spool = storage.spool(uri)
        self._path = self._spool.__enter__()
        self._sink = pa.OSFile(self._path, "wb")
        self._writer = pq.ParquetWriter(self._sink, PREDICTIONS, compression="zstd")

    @property
    def size(self) -> int:
        return self._sink.tell()

    def write(self, rows: pa.Table) -> None:
        self._writer.write_table(rows)
        self.rows += len(rows)

    def commit(self) -> Part:
        self._writer.close()
        size = self.size
        self._sink.close()
        storage.commit(self._path, self.uri, replace=True)
        self._spool.__exit__(None, None, None)
        return Part(self.uri.rpartition("/")[2], self.rows, size)


def _split(rows: pa.Table) -> Iterator[pa.Table]:
    """Runs of rows of the same pair."""
    ids = pc.binary_join_element_wise(rows["video_id"], rows["expression_id"], "\x1f").combine_chunks()
    changes = np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
    for start, stop in itertools.pairwise([0, *changes.tolist(), len(rows)]):
        yield rows.slice(start, stop - start)


def _names(folder: str) -> list[str]:
    return storage.names(folder) if storage.is_folder(folder) else []
