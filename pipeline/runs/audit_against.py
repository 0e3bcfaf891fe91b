"""Add to an audit what differs between a run and a manifest, or between a run and its compacted copy."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.runs.audit import Audit
from pipeline.runs.compact import DOCUMENT, CompactedFile, by_pair, compacted_rows, read_document, sorted_rows
from pipeline.runs.moved import with_planned_uris
from pipeline.runs.plan import row_hashes
from pipeline.runs.run import Run
from schemas.errors import InputError, StorageError
from schemas.pair import PAIR_COLUMNS, PairKey


def compare_with_manifest(audit: Audit, run: Run, manifest: pa.Table) -> None:
    """Add the pairs that only `manifest` or only the plan has, and those whose rows differ."""
    try:
        planned, manifest = run.planned_hashes(), with_planned_uris(manifest, run.folder, run.planned_uris())
    except InputError as error:  # the plan is damaged
        audit.find("unreadable", str(error))
        return
    wanted = manifest.select(PAIR_COLUMNS).append_column("row_hash", row_hashes(manifest))
    both = wanted.join(planned, PAIR_COLUMNS, right_suffix="_planned", join_type="full outer")
    for kind, rows, text in (
        (
            "missing",
            pc.is_null(both["row_hash_planned"]),
            "is in the manifest but not in the plan; run 'rvos segment' again",
        ),
        ("orphan", pc.is_null(both["row_hash"]), "is in the plan but not in the manifest"),
        (
            "changed",
            pc.not_equal(both["row_hash"], both["row_hash_planned"]),
            "has another sentence, video or list of frames in the manifest than in the plan",
        ),
    ):
        for pair in both.filter(rows).select(PAIR_COLUMNS).to_pylist():
            audit.find(kind, f"{PairKey.of(pair)} {text}")


def compare_with_compacted(audit: Audit, run: Run, out: str) -> None:
    """Add the differences between the run and the compacted data set in `out`.

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
