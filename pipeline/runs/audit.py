"""Verify that every planned pair was written exactly once, with a mask for each frame or with one error row.

Each unit is compared with its own rows of the plan, so memory does not grow with the masks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.runs.commit import receipt_of
from pipeline.runs.compact import DOCUMENT, CompactedFile, by_pair, compacted_rows, read_document, sorted_rows
from pipeline.runs.run import Run
from schemas.check import SchemaError, conform
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.masks import PREDICTIONS
from schemas.pair import PAIR_COLUMNS, PairKey

KINDS = ("missing", "duplicate", "orphan", "stale", "unreadable")
LISTED = 100  # findings of each kind that are listed, the others are counted
READERS = 16  # units read in parallel


@dataclass(slots=True)
class Audit:
    """The content of a run. `counts` counts pairs (missing, duplicate, orphan) and units (stale, unreadable)."""

    pairs: int = 0  # in the plan
    with_masks: int = 0
    failed: Counter[str] = field(default_factory=Counter)  # status -> pairs
    frames: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    listed: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    @property
    def clean(self) -> bool:
        return not self.counts.total()

    def find(self, kind: str, text: str) -> None:
        self.counts[kind] += 1
        if len(self.listed[kind]) < LISTED:
            self.listed[kind].append(text)


@dataclass(slots=True)
class _UnitContent:
    """The content of one unit: the rows of each pair by status, or the reason why it cannot be read."""

    fingerprint: str = ""
    rows: dict[PairKey, Counter[str]] = field(default_factory=dict)
    repeated: set[PairKey] = field(default_factory=set)  # pairs with two rows for one frame
    problem: str | None = None

    @classmethod
    def read(cls, run: Run, unit_id: str) -> "_UnitContent":
        uri = run.masks_uri(unit_id)
        try:
            with storage.open_parquet(uri) as file:
                content = cls(receipt_of(file, uri).fingerprint)
                conform(file.schema_arrow.empty_table(), PREDICTIONS, uri)
                rows = file.read()  # all columns, to find damage in any of them
        except StorageError:
            raise  # says nothing about the unit
        except (OSError, SchemaError, InputError, InfrastructureError, pa.ArrowInvalid) as error:
            return cls(problem=str(error))
        for group in rows.group_by([*PAIR_COLUMNS, "status"]).aggregate([([], "count_all")]).to_pylist():
            content.rows.setdefault(PairKey.of(group), Counter())[group["status"]] += group["count_all"]
        frames = rows.group_by([*PAIR_COLUMNS, "frame_index"]).aggregate([([], "count_all")])
        for group in frames.filter(pc.field("count_all") > 1).to_pylist():
            content.repeated.add(PairKey.of(group))
        return content


def audit_run(run: Run) -> Audit:
    """Compare every unit under RUN/masks with the plan."""
    audit = Audit()
    units = {unit.unit_id: unit for unit in run.units()}
    committed = run.committed()
    strays: list[PairKey] = []  # pairs in a unit that should not hold them
    contents = bounded_map(lambda unit_id: (unit_id, _UnitContent.read(run, unit_id)), sorted(committed), READERS)
    for unit_id, content in contents:
        planned = set(PairKey.of_all(run.rows(units[unit_id]))) if unit_id in units else set()
        audit.pairs += len(planned)
        strays += _audit_unit(audit, unit_id, content, planned, run.fingerprint)
    for unit_id in sorted(units.keys() - committed):
        planned = sorted(PairKey.of_all(run.rows(units[unit_id])))
        audit.pairs += len(planned)
        for key in planned:
            audit.find("missing", f"{key}: unit {unit_id} does not exist")
    elsewhere = set(PairKey.of_all(run.manifest())) if strays else set()
    for key in strays:
        audit.find("duplicate" if key in elsewhere else "orphan", f"{key} is in a unit that should not hold it")
    return audit


def _audit_unit(
    audit: Audit, unit_id: str, content: _UnitContent, planned: set[PairKey], fingerprint: str
) -> list[PairKey]:
    """Add the findings of one unit to `audit`. Returns the pairs in it that its plan does not have."""
    if content.problem:
        audit.find("unreadable", f"unit {unit_id}: {content.problem}")
        for key in sorted(planned):
            audit.find("missing", f"{key}: unit {unit_id} is unreadable")
        return []
    if content.fingerprint != fingerprint:
        audit.find("stale", f"unit {unit_id} was made with fingerprint {content.fingerprint}")
    for key, statuses in content.rows.items():
        errors = statuses.total() - statuses["ok"]
        if key in content.repeated or errors > 1 or (errors and statuses["ok"]):
            audit.find("duplicate", f"{key} has duplicate rows in unit {unit_id}")
        elif key in planned:
            audit.with_masks += not errors
            audit.frames += statuses["ok"]
            audit.failed.update(status for status in statuses if status != "ok")
    for key in sorted(planned - content.rows.keys()):
        audit.find("missing", f"{key} is missing in its unit {unit_id}")
    return sorted(content.rows.keys() - planned)


def compare_with_manifest(audit: Audit, run: Run, manifest: pa.Table) -> None:
    """Add to `audit` the pairs that only `manifest` or only the plan has."""
    wanted, planned = manifest.select(PAIR_COLUMNS), run.manifest().select(PAIR_COLUMNS)
    for kind, here, other, text in (
        ("missing", wanted, planned, "is in the manifest but not in the plan; run 'rvos segment' again"),
        ("orphan", planned, wanted, "is in the plan but not in the manifest"),
    ):
        for pair in here.join(other, PAIR_COLUMNS, join_type="left anti").to_pylist():
            audit.find(kind, f"{PairKey.of(pair)} {text}")


def compare_with_compacted(audit: Audit, run: Run, out: str) -> None:
    """Add to `audit` the differences between the run and the compacted data set in `out`.

    Both are read in the same order, pair by pair. Raises InputError if `out` is not a complete data set, or the run is
    not finished.
    """
    document = read_document(out)
    if document is None:
        raise InputError(f"{out} is not complete: it has no {DOCUMENT}; repeat 'rvos compact'")
    theirs, last = by_pair(_readable_rows(audit, out, document.parts)), None
    mine = by_pair(sorted_rows(run))
    here, there = next(mine, None), next(theirs, None)
    while here or there:
        if there is None or (here and here[0] < there[0]):
            assert here
            audit.find("missing", f"{here[0]} is not in {out}")
            here = next(mine, None)
        elif here is None or there[0] < here[0]:
            audit.find("duplicate" if there[0] == last else "orphan", f"{there[0]} in {out}")
            last, there = there[0], next(theirs, None)
        else:
            if not here[1].equals(there[1]):
                kind = "duplicate" if len(there[1]) > len(here[1]) else "stale"
                audit.find(kind, f"{here[0]} has different rows in {out} than in the run; compact to a new folder")
            last, here, there = there[0], next(mine, None), next(theirs, None)


def _readable_rows(audit: Audit, out: str, parts: Sequence[CompactedFile]) -> Iterator[pa.Table]:
    for part in parts:
        try:
            yield from compacted_rows(out, [part])
        except StorageError:
            raise
        except (OSError, InputError) as error:
            audit.find("unreadable", f"{out}: {error}")
