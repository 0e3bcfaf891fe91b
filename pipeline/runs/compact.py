"""Copy the masks of a run to few large files sorted by video: a separate data set, which leaves the run alone.

OUT/_compact_started.json    marks the folder as ours until nothing but the data set is in it; removed last
OUT/part-00000-<content>.parquet ...  PREDICTIONS sorted by video and expression, about FILE_BYTES each, a video in one
                             file; <content> is a hash of the run's units, so that two compactions never mix
OUT/_compact.json            the run and the sizes of the files; created once all files are there
"""

import contextlib
import hashlib
import heapq
import io
import itertools
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import checksum, output_folder, parquet, storage
from pipeline.io.parallel import bounded_map
from pipeline.io.plain_parquet import PlainParquetFile
from pipeline.runs.commit import REPAIR, fault_of, pair_key, receipt_of
from pipeline.runs.plan import run_starts
from pipeline.runs.receipts import receipts_of
from pipeline.runs.run import Run
from schemas.check import add_missing_columns
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.json_text import parse_object
from schemas.masks import PREDICTIONS
from schemas.pair import PAIR_COLUMNS, PairKey
from schemas.shown import shown_json

DOCUMENT = "_compact.json"
STARTED = "_compact_started.json"
OWN_PART = re.compile(r"part-\d{5}-[0-9a-f]{12}\.parquet")
FILE_BYTES = 128 * 2**20
GROUP_BYTES = 16 * 2**20  # of a row group, before compression
READERS = 2  # threads that read units ahead, two units each, in compressed form


@dataclass(frozen=True, slots=True)
class CompactedFile:
    """One file of the data set."""

    name: str
    pairs: int
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The content of DOCUMENT. `content` is a hash of all units of the run with their generations."""

    run: str
    fingerprint: str
    content: str
    parts: tuple[CompactedFile, ...]

    @property
    def pairs(self) -> int:
        return sum(part.pairs for part in self.parts)

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


def compact_run(run: Run, out: str) -> tuple[Compacted, bool]:
    """Write the data set to the folder `out`. Returns its description, and True if it existed before.

    Raises InputError if the run is not finished, if `out` is inside it, or if `out` holds other files, another run or
    an earlier state of this run.
    """
    output_folder.require_outside(out, run.folder)
    content = run_content(run)
    output_folder.require_folder(out)
    existing = read_document(out)
    if existing is None:
        if not storage.exists(storage.join(out, STARTED)):
            output_folder.require_empty(out)
            storage.write_bytes(storage.join(out, STARTED), f"{shown_json({'run': run.folder})}\n".encode())
        parts = tuple(_write_parts(out, content[:12], sorted_rows(run)))
        made = Compacted(run.folder, run.fingerprint, content, parts)
        if run_content(run) != content:
            _remove_parts(out, parts)
            raise InfrastructureError(f"{run.folder} has changed while it was copied; repeat the command")
        text = f"{shown_json(asdict(made))}\n".encode()
        if storage.write_bytes(storage.join(out, DOCUMENT), text, replace=False):
            _remove_leftovers(out, made)
            return made, False
        existing = read_document(out)
        if existing and existing.content != content:
            _remove_parts(out, parts)
    if not existing or (existing.fingerprint, existing.content) != (run.fingerprint, content):
        raise InputError(f"{out} was made from another run, or from this one before it changed; choose a new folder")
    _remove_leftovers(out, existing)  # the command that made it may have been killed before it did
    return existing, True


def _remove_leftovers(out: str, made: Compacted) -> None:
    """Remove the parts of interrupted tries before the run changed, then STARTED."""
    names = storage.names(out)
    left = {name for name in names if OWN_PART.fullmatch(name)} - {part.name for part in made.parts}
    for name in [*sorted(left), *({STARTED} & set(names))]:
        storage.remove(storage.join(out, name))


def _remove_parts(out: str, parts: Iterable[CompactedFile]) -> None:
    for part in parts:
        storage.remove(storage.join(out, part.name))


def read_document(out: str) -> Compacted | None:
    """Read DOCUMENT, or return None if it is missing. Raises InputError if it is damaged."""
    uri = storage.join(out, DOCUMENT)
    try:
        values: Any = parse_object(storage.read_bytes(uri, limit=100_000_000))
        made = Compacted(**values | {"parts": tuple(CompactedFile(**part) for part in values["parts"])})
        if odd := [part.name for part in made.parts if not OWN_PART.fullmatch(part.name)]:
            raise ValueError(f"{odd[0]!a} is not the name of a part")  # it may lead to any other file
        return made
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"cannot read {uri} ({error}); compact the run to a new folder") from None


def complete_parts(out: str) -> tuple[CompactedFile, ...] | None:
    """Return the parts of the data set in the folder `out`; None if it is not one.

    Raises InputError if it is not complete, if its DOCUMENT is damaged, or if a part is missing or has another size.
    """
    document = read_document(out)
    if document is None:
        if storage.exists(storage.join(out, STARTED)):
            raise InputError(f"{out} is not complete: it has no {DOCUMENT}; repeat 'rvos compact'")
        return None
    for part in document.parts:
        uri = storage.join(out, part.name)
        if not storage.exists(uri):
            raise InputError(f"{uri} is missing, and {DOCUMENT} lists it; compact {document.run} to a new folder")
        if (size := storage.size(uri)) != part.bytes:
            text = f"has {size:,} bytes in place of {part.bytes:,}; compact {document.run} to a new folder"
            raise InputError(f"{uri} {text}")
    return document.parts


def run_content(run: Run) -> str:
    """Return a hash of the content of a finished run. Raises InputError if units are missing."""
    run.require_finished()
    units = sorted({unit.unit_id for unit in run.units()})
    digest = hashlib.sha256()
    for receipt in receipts_of(run, units):
        digest.update(f"{receipt.unit_id} {receipt.generation}\n".encode())
    return digest.hexdigest()


def sorted_rows(run: Run) -> Iterator[pa.Table]:
    """Yield all rows of a finished run, sorted by video and expression: one table per pair, or several for long pairs.

    Units cover ranges of keys that hardly overlap, so few are open at a time.
    """
    found: dict[str, PairKey] = {}  # unit_id -> its first pair, since the plan is sorted within a unit
    for part in run.parts():
        plan = run.read_part(part, ["unit_id", *PAIR_COLUMNS])
        ids = plan["unit_id"].combine_chunks()
        for row in plan.take(run_starts(ids)).to_pylist():
            found.setdefault(row["unit_id"], PairKey.of(row))
    firsts = deque(sorted((key, unit_id) for unit_id, key in found.items()))
    contents = bounded_map(lambda unit: storage.read_bytes(run.masks_uri(unit[1])), tuple(firsts), READERS)
    opened: list[tuple[PairKey, str, pq.ParquetFile, deque]] = []  # a heap, by the next pair of each unit
    while firsts or opened:
        while firsts and (not opened or firsts[0][0] <= opened[0][0]):
            unit_id = firsts.popleft()[1]
            content = next(contents)
            with _damage_named(run.masks_uri(unit_id)):
                file = PlainParquetFile(io.BytesIO(content), page_checksum_verification=True)
                sealed, receipt = checksum.is_sealed_file(io.BytesIO(content)), receipt_of(file, run.masks_uri(unit_id))
                if fault := fault_of(receipt, run.masks_uri(unit_id), sealed=sealed):
                    raise InputError(fault)
                pairs = deque(sorted(_row_groups(file, run.masks_uri(unit_id)).items()))
            heapq.heappush(opened, (pairs[0][0], unit_id, file, pairs))
        _, unit_id, file, pairs = heapq.heappop(opened)
        for number in pairs.popleft()[1]:
            with _damage_named(run.masks_uri(unit_id)):
                rows = add_missing_columns(file.read_row_group(number), PREDICTIONS)
            yield rows
        if pairs:
            heapq.heappush(opened, (pairs[0][0], unit_id, file, pairs))


@contextlib.contextmanager
def _damage_named(uri: str) -> Iterator[None]:
    """Raise InputError with the way out if the content of a unit cannot be read."""
    try:
        yield
    except StorageError:
        raise
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError, InputError) as error:
        text = str(error).partition("\n")[0]
        raise InputError(f"{uri} is damaged ({text}); {REPAIR}") from None


def compacted_rows(out: str, parts: Sequence[CompactedFile]) -> Iterator[pa.Table]:
    """Yield all rows of a data set in order, one table per pair. Raises InputError if a file is unreadable."""
    for part in parts:
        with parquet.open_file(storage.join(out, part.name)) as file:
            for number in range(file.num_row_groups):
                try:
                    rows = add_missing_columns(file.read_row_group(number), PREDICTIONS)
                except StorageError:
                    raise
                except (OSError, pa.ArrowInvalid) as error:
                    raise InputError(f"cannot read {part.name}: {error}") from None
                ids = pc.binary_join_element_wise(rows["video_id"], rows["expression_id"], "\x1f").combine_chunks()
                for start, stop in itertools.pairwise([*run_starts(ids).tolist(), len(rows)]):
                    yield rows.slice(start, stop - start)


def by_pair(tables: Iterable[pa.Table]) -> Iterator[tuple[PairKey, pa.Table]]:
    """Concatenate consecutive tables of the same pair."""
    for key, group in itertools.groupby(tables, pair_key):
        yield key, pa.concat_tables(group)


def _row_groups(file: pq.ParquetFile, uri: str) -> dict[PairKey, list[int]]:
    """Return the numbers of the row groups of each pair in the object of a unit."""
    groups: dict[PairKey, list[int]] = {}
    for number in range(file.num_row_groups):
        ids = file.read_row_group(number, PAIR_COLUMNS)
        if len(ids.group_by(ids.column_names).aggregate([])) != 1:
            raise InfrastructureError(f"{uri} has two pairs in one row group: it was not written by 'rvos segment'")
        groups.setdefault(pair_key(ids), []).append(number)
    return groups


def _write_parts(out: str, content: str, tables: Iterable[pa.Table]) -> Iterator[CompactedFile]:
    """Write files of about FILE_BYTES, split between videos."""
    videos = itertools.groupby(tables, lambda table: pair_key(table).video_id)
    number = itertools.count()
    for first in videos:
        name = f"part-{next(number):05d}-{content}.parquet"
        with storage.spool(storage.join(out, name)) as path:
            pairs, rows = _write_part(path, itertools.chain([first], videos))
            size = os.path.getsize(path)
            storage.commit(path, storage.join(out, name), replace=True)
        yield CompactedFile(name, pairs, rows, size)


def _write_part(path: str, videos: Iterable[tuple[str, Iterable[pa.Table]]]) -> tuple[int, int]:
    """Write whole videos until the file is large enough. Memory is one row group.

    Returns the number of pairs and rows.
    """
    group: list[pa.Table] = []
    pairs = rows = group_bytes = 0
    last = None
    with (
        pa.OSFile(path, "wb") as sink,
        pq.ParquetWriter(sink, PREDICTIONS, compression="zstd", write_page_checksum=True) as writer,
    ):
        for _, tables in videos:
            for table in tables:
                if group_bytes >= GROUP_BYTES:
                    writer.write_table(pa.concat_tables(group))
                    group, group_bytes = [], 0
                group.append(table)
                group_bytes += table.nbytes
                rows += len(table)
                pairs += pair_key(table) != last
                last = pair_key(table)
            if sink.tell() + group_bytes >= FILE_BYTES:
                break
        writer.write_table(pa.concat_tables(group))
    return pairs, rows
