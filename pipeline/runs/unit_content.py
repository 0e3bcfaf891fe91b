"""Read a committed unit in full, and check that its rows have the form of masks and of error rows.

Memory is one batch of rows and the frames of one pair, for units of any size.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import checksum, local, parquet, storage
from pipeline.io.local_copy import local_file
from pipeline.runs.commit import Receipt, receipt_of
from pipeline.runs.plan import run_starts
from pipeline.runs.run import Run
from schemas import rle
from schemas.check import add_missing_columns, conform
from schemas.errors import FAILURES, InputError
from schemas.masks import PREDICTIONS, chosen_rows
from schemas.pair import PairKey

ROWS_AT_ONCE = 1024
LARGE_BYTES = 2 * 2**20  # of the file of a unit
LARGE_UNITS = threading.Semaphore(1)  # checked at once: one of 20,000 masks takes 80 MB, its footer alone 20
OF_MASKS = ("frame_index", "height", "width", "counts")  # set in the row of a mask, null in an error row


@dataclass(slots=True)
class PairContent:
    """The rows of one pair in a unit."""

    statuses: Counter[str] = field(default_factory=Counter)
    frames: list[int] = field(default_factory=list)  # frame_index of its masks
    others: list[tuple[int, int]] = field(default_factory=list)  # frame_index and query of candidates not chosen
    names: list[str | None] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)  # height, width
    problem: str | None = None  # the first row that is neither a mask nor an error row

    @property
    def is_doubled(self) -> bool:
        errors = self.statuses.total() - self.statuses["ok"]
        doubled = any(len(set(found)) < len(found) for found in (self.frames, self.others))
        return doubled or errors > 1 or bool(errors and self.statuses["ok"])


@dataclass(slots=True)
class UnitContent:
    """The receipt of a unit, and its findings; or the reason why it cannot be read."""

    receipt: Receipt = field(default_factory=lambda: Receipt("", ""))
    findings: list[tuple[str, str]] = field(default_factory=list)  # kind, text
    statuses: dict[PairKey, Counter[str]] = field(default_factory=dict)
    problem: str | None = None

    @classmethod
    def read(
        cls, run: Run, unit_id: str, planned: dict[PairKey, dict], *, frame_step: int, allow_short: bool
    ) -> "UnitContent":
        """Read a unit. `planned` holds the plan rows of its pairs."""
        uri = run.masks_uri(unit_id)

        def read() -> UnitContent:
            content = cls()
            with local_file(uri) as path, LARGE_UNITS if os.path.getsize(path) > LARGE_BYTES else nullcontext():
                content._check(path, uri, planned, frame_step, allow_short)
            return content

        try:
            return storage.read_again(read)
        except Exception as error:  # damaged Parquet makes pyarrow raise many kinds
            local.raise_machine_failure(error, uri)
            text = str(error).partition("\n")[0] or type(error).__name__
            return cls(problem=text.replace(f"{uri} ", "").replace(f"{uri}: ", ""))

    def _check(self, path: str, uri: str, planned: dict[PairKey, dict], frame_step: int, allow_short: bool) -> None:
        sealed = checksum.is_sealed(path)
        with parquet.open_file(path) as file:
            self.receipt = receipt_of(file, uri)
            if self.receipt.sealed and not sealed:
                raise InputError("its checksum is missing: another program has rewritten the file")
            conform(file.schema_arrow.empty_table(), PREDICTIONS, uri)
            retried = self.receipt.otherwise.items()
            shortened = {PairKey(*pair) for text, pairs in retried if "allow_short=True" in text for pair in pairs}
            for key, pair in pairs_of(file):
                short = allow_short or key in shortened
                if key in self.statuses or pair.is_doubled:
                    self.findings.append(("duplicate", f"{key} has duplicate rows"))
                elif pair.problem:
                    self.findings.append(("invalid", f"{key}: {pair.problem}"))
                elif key in planned and (problem := frames_problem(pair, planned[key], frame_step, short)):
                    self.findings.append(("incomplete", f"{key}: {problem}"))
                self.statuses.setdefault(key, Counter()).update(pair.statuses)
        self._compare_with_receipt()

    def _compare_with_receipt(self) -> None:
        counted = sum(self.statuses.values(), Counter())
        frames, pairs = counted.pop("ok", 0), len(self.statuses)
        stated = self.receipt
        if (stated.pairs, stated.frames, Counter(stated.failed)) != (pairs, frames, counted):
            text = f"holds {pairs} pairs with {frames} masks, its receipt states {stated.pairs} with {stated.frames}"
            self.findings.append(("incomplete", text))


def pairs_of(file: pq.ParquetFile) -> Iterator[tuple[PairKey, PairContent]]:
    """Yield the pairs of a unit in the order of its rows. A pair whose rows are apart comes more than once."""
    last, pair = None, PairContent()
    for batch in file.iter_batches(ROWS_AT_ONCE):
        rows = add_missing_columns(pa.Table.from_batches([batch]), PREDICTIONS).combine_chunks()
        ids = pc.binary_join_element_wise(rows["video_id"], rows["expression_id"], "\x1f").combine_chunks()
        starts = run_starts(ids)
        for start, stop in zip(starts, np.append(starts[1:], len(rows)), strict=True):
            one = rows.slice(start, stop - start)
            key = PairKey(one["video_id"][0].as_py(), one["expression_id"][0].as_py())
            if last is not None and key != last:
                yield last, pair
                pair = PairContent()
            last = key
            _add(pair, one)
    if last is not None:
        yield last, pair


def _add(pair: PairContent, rows: pa.Table) -> None:
    statuses = chosen_rows(rows)["status"].to_pylist()
    pair.statuses.update(str(status) for status in statuses)
    if unknown := set(statuses) - {"ok", *FAILURES}:
        pair.problem = pair.problem or f"status {unknown.pop()!r} is unknown"
    masks = rows.filter(pc.equal(rows["status"], "ok"))
    for name in OF_MASKS:
        if masks[name].null_count:
            pair.problem = pair.problem or f"a mask has no {name}"
        if rows[name].null_count - masks[name].null_count != len(rows) - len(masks):
            pair.problem = pair.problem or f"an error row has a {name}"
    if pair.problem or not len(masks):
        return
    chosen, others = chosen_rows(masks), masks.filter(pc.equal(masks["chosen"], False))
    pair.frames += chosen["frame_index"].to_pylist()
    pair.names += chosen["frame_name"].to_pylist()
    pair.others += zip(others["frame_index"].to_pylist(), others["query"].to_pylist(), strict=True)
    pair.sizes |= set(zip(masks["height"].to_pylist(), masks["width"].to_pylist(), strict=True))
    if len(pair.sizes) > 1:
        pair.problem = f"its masks have several sizes: {sorted(pair.sizes)[:3]}"
        return
    for row in (0, len(masks) - 1):  # each mask would take as long as everything else
        try:
            rle.check(masks["counts"][row].as_py(), masks["height"][row].as_py(), masks["width"][row].as_py())
        except rle.RleError as error:
            pair.problem = f"frame {masks['frame_index'][row].as_py()}: {error}"


def frames_problem(pair: PairContent, planned: dict, frame_step: int, allow_short: bool) -> str | None:
    """Compare the frames of a pair with its plan row: the listed ones, or every n-th from the first on."""
    if unchosen := sorted({frame for frame, _ in pair.others} - set(pair.frames)):
        return f"frame {unchosen[0]} has candidates, but none is chosen"
    if not pair.statuses["ok"]:
        return None
    names, indices, targets = (planned.get(name) for name in ("frames", "frame_indices", "target_frames"))
    wanted, found = set(targets or names or indices or ()), set(pair.names if targets or names else pair.frames)
    if not wanted:
        wanted = set(range(0, len(pair.frames) * frame_step, frame_step))
    missing, more = sorted(wanted - found, key=str), sorted(found - wanted, key=str)
    if missing and not (allow_short and (targets or names or indices)):
        return f"frame {missing[0]} is missing{f', and {len(missing) - 1} more' if len(missing) > 1 else ''}"
    return f"frame {more[0]} was not requested" if more else None
