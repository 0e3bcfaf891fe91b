"""The plan of a run that refines the masks of another one: the same pairs, unit by unit.

Each unit reads exactly one object of the source.
"""

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from pipeline.io import parquet, storage
from pipeline.io.manifest import with_absolute_uris
from pipeline.runs.moved import take_moved_videos
from pipeline.runs.plan import SOURCE_UNIT
from pipeline.runs.run import PLAN_ROW_GROUP, Run
from schemas.errors import InputError


@dataclass(frozen=True, slots=True)
class RefinedRun(Run):
    """A run whose masks are made of those in the run folder `source`."""

    source: str = ""

    @classmethod
    def of(cls, run: Run, source: Run) -> "RefinedRun":
        return cls(run.folder, run.fingerprint, run.run_id, source=source.folder)

    def copy_plan(self, source: Run, *, allow_local: bool) -> None:
        """Add the parts of the plan of `source` that are not here yet, and take the present URIs of its videos.

        allow_local: keep local paths of a remote source. Raises InputError if the parts that are here differ.
        """
        there = self.parts()
        for part in source.parts():
            if part in there:
                self._require_part(part, source)
                continue
            storage.remove(self.success_uri)
            table = _refined_part(source.read_part(part), self.fingerprint)
            table = with_absolute_uris(table, source.folder, allow_local=allow_local)
            if not parquet.write_table(self.part_uri(part), table, replace=False, row_group_size=PLAN_ROW_GROUP):
                self._require_part(part, source)  # another command was faster
            storage.remove(self.success_uri)  # again: an audit of the shorter plan may have written it meanwhile
        take_moved_videos(self.folder, source.folder)

    def _require_part(self, part: int, source: Run) -> None:
        names = self.read_part(part, [SOURCE_UNIT])[SOURCE_UNIT]
        if not names.equals(source.read_part(part, ["unit_id"])["unit_id"]):
            raise InputError(
                f"{self.folder} was made of other masks than those in {source.folder}: part {part} of their plans "
                "differs; choose another folder"
            )


def _refined_part(part: pa.Table, fingerprint: str) -> pa.Table:
    """Return a plan part with units of their own, and SOURCE_UNIT for the units that they are made of."""
    sources = part["unit_id"].combine_chunks().dictionary_encode()
    hashes = [hashlib.sha256(f"{fingerprint}\x1e{source}".encode()) for source in sources.dictionary.to_pylist()]
    units = pa.array([each.hexdigest()[:20] for each in hashes], pa.string()).take(sources.indices)
    columns = {name: part[name] for name in part.column_names if name != SOURCE_UNIT}
    return pa.table(columns | {"unit_id": units, SOURCE_UNIT: part["unit_id"]})
