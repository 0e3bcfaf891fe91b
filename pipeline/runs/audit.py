"""Verify that every planned pair was written exactly once, with a mask for each frame or with one error row.

The plan is read once, from its first row to its last, and each unit is compared with its own rows of it. Memory grows
neither with the masks nor with the plan.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.io import checksum, local, parquet
from pipeline.io.local_copy import local_file
from pipeline.io.parallel import bounded_map
from pipeline.runs.log import logged_parts
from pipeline.runs.plan import SOURCE_UNIT, run_starts, unit_id_of
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json
from pipeline.runs.unit_content import UnitContent
from schemas.errors import InputError
from schemas.pair import PAIR_COLUMNS, PairKey

KINDS = ("missing", "duplicate", "orphan", "stale", "changed", "incomplete", "invalid", "unreadable")
LISTED = 100  # findings of each kind that are listed, the others are counted
READERS = 8  # units read in parallel
PLAN_ROWS = 4096  # read at once
IDS = ("unit_id", *PAIR_COLUMNS)
NEEDED = ("unit_id", "video_id", "expression_id", "frames", "frame_indices", "target_frames")  # columns of the plan


@dataclass(slots=True)
class Audit:
    """The content of a run. `counts` counts pairs, and units if they are stale or unreadable."""

    pairs: int = 0  # in the plan
    with_masks: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # status -> pairs
    frames: int = 0
    parts: list[int] = field(default_factory=list)  # of the plan
    generations: int = 0  # sum over units
    made_with: Counter[str] = field(default_factory=Counter)  # `Receipt.made_with` -> units
    otherwise: Counter[str] = field(default_factory=Counter)  # `Receipt.otherwise` -> pairs
    counts: Counter[str] = field(default_factory=Counter)
    listed: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def clean(self) -> bool:
        return not self.counts.total()

    def find(self, kind: str, text: str, pairs: int = 1) -> None:
        self.counts[kind] += pairs
        if len(self.listed[kind]) < LISTED:
            self.listed[kind].append(text)

    def add(self, unit_id: str, content: UnitContent, planned: set[PairKey], run: Run) -> list[PairKey]:
        """Add one unit. Returns the pairs in it that its plan does not have."""
        self.pairs += len(planned)
        if content.problem:
            self.find("unreadable", f"unit {unit_id}: {content.problem}")
            for key in sorted(planned):
                self.find("missing", f"{key}: unit {unit_id} is unreadable")
            return []
        receipt = content.receipt
        if receipt.fingerprint != run.fingerprint:
            self.find("stale", f"unit {unit_id} was made with fingerprint {receipt.fingerprint}")
        elif receipt.run_id and receipt.run_id != run.run_id:
            self.find("stale", f"unit {unit_id} was made by an earlier run in this folder")
        elif receipt.unit_id != unit_id:
            self.find("stale", f"unit {unit_id} is a copy of unit {receipt.unit_id}")
        self.generations += receipt.generation
        self.made_with[receipt.made_with or "unknown"] += 1
        self.otherwise.update({options: len(pairs) for options, pairs in receipt.otherwise.items()})
        for kind, text in content.findings:
            self.find(kind, f"unit {unit_id}: {text}")
        for key in planned & content.statuses.keys():
            statuses = content.statuses[key]
            self.with_masks += "ok" in statuses
            self.frames += statuses["ok"]
            self.failed.update(status for status in statuses if status != "ok")
        for key in sorted(planned - content.statuses.keys()):
            self.find("missing", f"{key} is missing in its unit {unit_id}")
        return sorted(content.statuses.keys() - planned)


def audit_run(run: Run) -> Audit:
    """Compare every unit under RUN/masks with the plan."""
    audit = Audit(parts=run.parts())
    _check_plan(audit, run)
    made_with = read_run_json(run.folder).get("decides", {})
    options = {"frame_step": made_with.get("frame_step", 1), "allow_short": made_with.get("allow_short", False)}
    committed, seen = run.committed(), set()
    strays: list[PairKey] = []  # pairs in a unit that should not hold them

    def units() -> Iterator[tuple[str, dict[PairKey, dict]]]:
        for part in audit.parts:
            for unit_id, planned in _planned_units(audit, run, part):
                if unit_id in seen:
                    audit.find("duplicate", f"unit {unit_id} is planned again in part {part}", len(planned))
                    continue
                seen.add(unit_id)
                if unit_id in committed:
                    yield unit_id, planned
                    continue
                audit.pairs += len(planned)
                for key in sorted(planned):
                    audit.find("missing", f"{key}: unit {unit_id} does not exist")
        for unit_id in sorted(committed - seen):
            yield unit_id, {}

    def read(unit: tuple[str, dict[PairKey, dict]]) -> tuple[str, set[PairKey], UnitContent]:
        return unit[0], set(unit[1]), UnitContent.read(run, *unit, **options)

    for unit_id, planned, content in bounded_map(read, units(), READERS):
        strays += audit.add(unit_id, content, planned, run)
    elsewhere = _planned_pairs(run) if strays and audit.parts else set()
    for key in strays:
        audit.find("duplicate" if key in elsewhere else "orphan", f"{key} is in a unit that should not hold it")
    return audit


def _planned_pairs(run: Run) -> set[PairKey]:
    """Return all pairs of the plan; none if it is damaged, which is a finding of its own."""
    try:
        return set(PairKey.of_all(run.manifest()))
    except InputError:
        return set()


def _check_plan(audit: Audit, run: Run) -> None:
    """Add absent parts of the plan to `audit`: gaps in their numbers, and parts that a log names."""
    known = logged_parts(run) | set(range(max(audit.parts, default=-1) + 1))
    for part in sorted(known - set(audit.parts)):
        audit.find("missing", f"part {part} of the plan does not exist; choose another run folder")
    if not audit.parts:
        audit.find("missing", f"{run.folder} has no plan; run 'rvos segment' again")


def _planned_units(audit: Audit, run: Run, part: int) -> Iterator[tuple[str, dict[PairKey, dict]]]:
    """Yield the units of a plan part with the rows of their pairs."""
    uri, unit_id, rows = run.part_uri(part), "", {}

    def require_same(columns: list[str]) -> None:
        if SOURCE_UNIT not in columns and unit_id != unit_id_of(rows, run.fingerprint):
            audit.find("changed", f"unit {unit_id} has other pairs in the plan than it was planned with")

    try:
        with local_file(uri) as path:
            checksum.is_sealed(path)
            with parquet.open_file(path) as file:
                columns = [name for name in NEEDED if name in file.schema_arrow.names]
                for batch in file.iter_batches(PLAN_ROWS, columns=columns):
                    table = pa.Table.from_batches([batch])
                    if any(not pa.types.is_string(table[name].type) or table[name].null_count for name in IDS):
                        raise InputError(f"{', '.join(IDS)} are not texts in every row")
                    ids = table["unit_id"].combine_chunks()
                    starts = run_starts(ids).tolist()
                    for start, stop in zip(starts, [*starts[1:], len(ids)], strict=True):
                        if rows and ids[start].as_py() != unit_id:
                            require_same(file.schema_arrow.names)
                            yield unit_id, rows
                            rows = {}
                        unit_id = ids[start].as_py()
                        for row in table.slice(start, stop - start).to_pylist():
                            if PairKey.of(row) in rows:
                                audit.find("duplicate", f"{PairKey.of(row)} is planned twice")
                            rows[PairKey.of(row)] = row
                names = file.schema_arrow.names
        if rows:
            require_same(names)
            yield unit_id, rows
    except Exception as error:  # damaged Parquet makes pyarrow raise many kinds
        local.raise_machine_failure(error, uri)
        text = str(error).partition("\n")[0] or type(error).__name__
        audit.find("unreadable", f"part {part} of the plan: {text}; {run.way_out(part)}")
