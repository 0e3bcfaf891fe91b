"""The exactly-once check: every planned pair in the output once, with a mask for its frames or with one error row.

Units are looked at one by one against their own rows of the plan, so that memory does not grow with the masks.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from pipeline.io import storage
from pipeline.io.parallel import bounded_map
from pipeline.runs.commit import receipt_of
from pipeline.runs.compact import DOCUMENT, Part, by_pair, compacted_rows, read_document, sorted_rows
from pipeline.runs.run import Run, Unit
from schemas.check import SchemaError, conform
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

KINDS = ("missing", "duplicate", "orphan", "stale", "unreadable")
LISTED = 100  # findings of each kind kept in words
READERS = 16  # units read at once


@dataclass(slots=True)
class Audit:
    """What a run holds. `counts` of pairs (missing, duplicate, orphan) and of units (stale, unreadable)."""

    pairs: int = 0  # planned
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
class _Content:
    """One unit's object: rows of each pair by status, or why it cannot be read."""

    fingerprint: str = ""
    rows: dict[PairKey, Counter[str]] = field(default_factory=dict)
    doubled: set[PairKey] = field(default_factory=set)  # pairs with a frame twice
    problem: str | None = None


def audit_run(run: Run) -> Audit:
    """Compare all that is under RUN/masks with the plan."""
    audit = Audit()
    units = {unit.unit_id: unit for unit in run.units()}
    there = run.committed()
    strays: list[PairKey] = []
    for unit_id, content in bounded_map(lambda unit_id: (unit_id, _read(run, unit_id)), sorted(there), READERS):
        planned = _planned(run, units[unit_id]) if unit_id in units else set()
        audit.pairs += len(planned)
        strays += _audit_unit(audit, unit_id, content, planned, run.fingerprint)
    for unit_id in sorted(units.keys() - there):
        absent = _planned(run, units[unit_id])
        audit.pairs += len(absent)
        for key in sorted(absent):
            audit.find("missing", f"{key}: unit {unit_id} is not there")
    _tell_strays(audit, run, strays)
    return audit


def compare_with_manifest(audit: Audit, run: Run, manifest: pa.Table) -> None:
    """Add to `audit` the pairs of `manifest` that are not planned, and the planned ones that it does not have."""
    keys = ["video_id", "expression_id"]
    asked, planned = manifest.select(keys), run.manifest().select(keys)
    for kind, here, other, text in (
        ("missing", asked, planned, "is in the manifest and not in the plan; run 'rvos segment' again"),
        ("orphan", planned, asked, "is in the plan and not in the manifest"),
    ):
        for pair in here.join(other, keys, join_type="left anti").to_pylist():
            audit.find(kind, f"{PairKey.of(pair)} {text}")


def compare_with_compacted(audit: Audit, run: Run, out: str) -> None:
    """Add to `audit` what the compacted data set in `out` lacks of the run, has beside it or has otherwise.

    Both are read in the same order, pair by pair. Raises InputError if `out` holds none, or the run is not finished.
    """
    document = read_document(out)
    if document is None:
        raise InputError(f"{out} is not complete: it has no {DOCUMENT}; repeat 'rvos compact'")
    theirs, last = by_pair(_readable(audit, out, document.parts)), None
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
                audit.find(kind, f"{here[0]} has other rows in {out} than in the run; compact to a new folder")
            last, here, there = there[0], next(mine, None), next(theirs, None)


def _readable(audit: Audit, out: str, parts: Sequence[Part]) -> Iterator[pa.Table]:
    for part in parts:
        try:
            yield from compacted_rows(out, [part])
        except StorageError:
            raise
        except (OSError, InputError) as error:
            audit.find("unreadable", f"{out}: {error}")


def _audit_unit(
    audit: Audit, unit_id: str, content: _Content, planned: set[PairKey], fingerprint: str
) -> list[PairKey]:
    """Count one unit in; returns the pairs in it that its plan does not have."""
    if content.problem:
        audit.find("unreadable", f"unit {unit_id}: {content.problem}")
        for key in sorted(planned):
            audit.find("missing", f"{key}: unit {unit_id} cannot be read")
        return []
    if content.fingerprint != fingerprint:
        audit.find("stale", f"unit {unit_id} was made with fingerprint {content.fingerprint}")
    for key, statuses in content.rows.items():
        errors = statuses.total() - statuses["ok"]
        if key in content.doubled or errors > 1 or (errors and statuses["ok"]):
            audit.find("duplicate", f"{key} has rows twice in unit {unit_id}")
        elif key in planned:
            audit.with_masks += not errors
            audit.frames += statuses["ok"]
            audit.failed.update(status for status in statuses if status != "ok")
    for key in sorted(planned - content.rows.keys()):
        audit.find("missing", f"{key} is not in its unit {unit_id}")
    return sorted(content.rows.keys() - planned)


def _tell_strays(audit: Audit, run: Run, strays: list[PairKey]) -> None:
    """A pair in a unit that is not its own is there twice if the plan has it elsewhere, else it is an orphan."""
    if not strays:
        return
    planned = run.manifest()
    elsewhere = set(PairKey.of_all(planned))
    for key in strays:
        kind = "duplicate" if key in elsewhere else "orphan"
        audit.find(kind, f"{key} is in a unit that is not its own")


def _read(run: Run, unit_id: str) -> _Content:
    columns = ["video_id", "expression_id", "frame_index", "status"]
    uri = run.masks_uri(unit_id)
    try:
        with storage.open_parquet(uri) as file:
            receipt = receipt_of(file, uri)
            conform(file.schema_arrow.empty_table(), PREDICTIONS, uri)
            rows = file.read()  # all columns: damage anywhere must show
    except StorageError:
        raise  # that is no verdict on the unit
    except (OSError, SchemaError, InputError, InfrastructureError, pa.ArrowInvalid) as error:
        return _Content(problem=str(error))
    return _content(receipt.fingerprint, rows.select(columns))


def _content(fingerprint: str, rows: pa.Table) -> _Content:
    keys = ["video_id", "expression_id"]
    content = _Content(fingerprint)
    for group in rows.group_by([*keys, "status"]).aggregate([([], "count_all")]).to_pylist():
        content.rows.setdefault(PairKey.of(group), Counter())[group["status"]] += group["count_all"]
    frames = rows.group_by([*keys, "frame_index"]).aggregate([([], "count_all")])
    for group in frames.filter(pa.compute.field("count_all") > 1).to_pylist():
        content.doubled.add(PairKey.of(group))
    return content


def _planned(run: Run, unit: Unit) -> set[PairKey]:
    return set(PairKey.of_all(run.rows(unit)))


def lines(audit: Audit, each: int) -> Iterator[str]:
    """Up to `each` findings of each kind, in words."""
    for kind in KINDS:
        for text in audit.listed[kind][:each]:
            yield f"{kind:<11}{text}"
        if audit.counts[kind] > each:
            yield f"{kind:<11}... and {audit.counts[kind] - each} more"
