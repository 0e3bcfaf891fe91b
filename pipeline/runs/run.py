"""A run folder: its identity in run.json, its plan parts, which units are committed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import output_folder, storage
from pipeline.io.parallel import bounded_map
from pipeline.runs import plan
from pipeline.runs.commit import Receipt, read_receipt
from schemas.errors import InputError, StorageError

RUN_JSON = "run.json"
PLAN_ROW_GROUP = 4096  # a worker reads the row groups that its unit lies in
RECEIPT_READERS = 32  # footers read at once; mostly waiting for storage
ORIGIN_KEY = b"refervos.origin"


class OtherRunError(InputError):
    """A folder holds a run of another fingerprint."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Where the rows of one unit lie: rows start..stop-1 of plan part `part`.

    `generation` is the one to make: 0, or more to do error rows of the object that is there again.
    """

    unit_id: str
    part: int
    start: int
    stop: int
    pair_frames: int
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder, local or remote. `fingerprint` is the hash of what decides its masks."""

    folder: str
    fingerprint: str

    @classmethod
    def start(cls, folder: str, fingerprint: str, decides: dict, record: dict) -> "Run":
        """Open the run in `folder`, or create it if there is none, with `record` in its run.json.

        `decides` is what the fingerprint was hashed from, name by name. Raises InputError if the folder holds
        something else, OtherRunError if a run of another fingerprint (the text lists what differs).
        """
        if not cls.is_there(folder, fingerprint, decides):
            document = {"fingerprint": fingerprint, "decides": decides, **record}
            text = json.dumps(document, indent=2, sort_keys=True) + "\n"
            storage.create_bytes(storage.join(folder, RUN_JSON), text.encode())
            cls.is_there(folder, fingerprint, decides)  # another start may have been first
        return cls(folder, fingerprint)

    @classmethod
    def is_there(cls, folder: str, fingerprint: str, decides: dict) -> bool:
        """Whether `folder` holds this run already, rather than nothing. Raises InputError as `start`."""
        if not output_folder.has_marker(folder, RUN_JSON):
            return False
        there = read_run_json(folder)
        if there["fingerprint"] != fingerprint:
            reason = output_folder.differences(there.get("decides", {}), decides) or "the fingerprint"
            raise OtherRunError(
                f"{folder} was created with different options ({reason}); "
                "use the same options, or choose another folder with --new-run"
            )
        return True

    @classmethod
    def open(cls, folder: str) -> "Run":
        """An existing run. Raises InputError if `folder` is none."""
        return cls(folder, read_run_json(folder)["fingerprint"])

    def extend_plan(
        self,
        manifest: pa.Table,
        source: str,
        options: plan.PlanOptions,
        *,
        limit: int | None = None,
        origin: str = "",
    ) -> None:
        """Plan the pairs of `manifest` (the first `limit`) that are not planned yet, as one more part.

        `origin` tells the manifest's content and limit; `is_planned_from` finds it again. Raises InputError if a
        planned row changed in, or vanished from, the manifest.
        """
        parts = self.parts()
        new = self.new_rows(manifest, source, limit)
        if not new.num_rows:
            return
        storage.remove(self.success_uri)
        part = plan.plan_part(new, self.fingerprint, options)
        part = part.replace_schema_metadata({ORIGIN_KEY: origin.encode()})
        uri = self._part_uri(parts[-1] + 1 if parts else 0)
        if not storage.write_table(uri, part, replace=False, row_group_size=PLAN_ROW_GROUP):
            self.extend_plan(manifest, source, options, limit=limit, origin=origin)

    def is_planned_from(self, origin: str) -> bool:
        """Whether the latest planning was from `origin`, so that there is nothing to compare."""
        parts = self.parts()
        if not parts:
            return False
        with storage.open_parquet(self._part_uri(parts[-1])) as file:
            return (file.schema_arrow.metadata or {}).get(ORIGIN_KEY, b"").decode() == origin

    def new_rows(self, manifest: pa.Table, source: str, limit: int | None) -> pa.Table:
        """The rows of `manifest` (of its first `limit`) that are not planned yet; raises as `extend_plan`."""
        plan.check_columns(manifest, source)
        parts = self.parts()
        if not parts:
            return manifest.slice(0, limit)
        planned = pa.concat_tables(self.read_part(part, ["video_id", "expression_id", "row_hash"]) for part in parts)
        new = plan.compare_with_plan(manifest, planned, source)
        return new if limit is None else new.slice(0, max(0, limit - planned.num_rows))

    def parts(self) -> list[int]:
        """Numbers of the plan parts, in order."""
        folder = storage.join(self.folder, "plan")
        if not storage.is_folder(folder):
            return []
        return sorted(int(name.removesuffix(".parquet")) for name in storage.names(folder) if name.endswith(".parquet"))

    def units(self) -> list[Unit]:
        """All planned units, part by part, longest first within each."""
        found = []
        for part in self.parts():
            with storage.open_parquet(self._part_uri(part)) as file:
                found += _units_of(part, file)
        return found

    def committed(self) -> set[str]:
        """Ids of the units whose object is there."""
        folder = storage.join(self.folder, "masks")
        if not storage.is_folder(folder):
            return set()
        return {name.removesuffix(".parquet") for name in storage.names(folder) if name.endswith(".parquet")}

    def rows(self, unit: Unit) -> pa.Table:
        """The plan rows of one unit; only the row groups that hold them are read."""
        with storage.open_parquet(self._part_uri(unit.part)) as file:
            first, last = unit.start // PLAN_ROW_GROUP, (unit.stop - 1) // PLAN_ROW_GROUP
            table = file.read_row_groups(list(range(first, last + 1)))
        return table.slice(unit.start - first * PLAN_ROW_GROUP, unit.stop - unit.start)

    def manifest(self) -> pa.Table:
        """All planned manifest rows."""
        tables = [self.read_part(part) for part in self.parts()]
        if not tables:
            raise InputError(f"{self.folder} has no plan yet")
        return pa.concat_tables(tables, promote_options="default").drop_columns(list(plan.PLAN_COLUMNS))

    @property
    def success_uri(self) -> str:
        """There after an audit that found every pair exactly once, until the plan grows."""
        return storage.join(self.folder, "_SUCCESS")

    @property
    def attempts_folder(self) -> str:
        return storage.join(self.folder, "attempts")

    def masks_uri(self, unit_id: str) -> str:
        return storage.join(self.folder, "masks", f"{unit_id}.parquet")

    def receipt(self, unit_id: str) -> Receipt:
        return read_receipt(self.masks_uri(unit_id))

    def receipts(self, unit_ids: Iterable[str]) -> Iterator[Receipt]:
        """Of many committed units, in the order asked for."""
        return bounded_map(self.receipt, unit_ids, RECEIPT_READERS)

    def write_log(self, invocation: str, document: dict) -> None:
        """Keep what one invocation did, as log/<invocation>.json."""
        uri = storage.join(self.folder, "log", f"{invocation}.json")
        storage.write_bytes(uri, (json.dumps(document, indent=2) + "\n").encode())

    def _part_uri(self, part: int) -> str:
        return storage.join(self.folder, "plan", f"{part}.parquet")

    def read_part(self, part: int, columns: list[str] | None = None) -> pa.Table:
        """One plan part: PLAN_COLUMNS and those of the manifest, or some of them."""
        return storage.read_table(self._part_uri(part), columns)


def _units_of(part: int, file: pq.ParquetFile) -> Iterator[Unit]:
    """The runs of rows with the same unit_id."""
    row, last = 0, Unit("", part, 0, 0, 0)
    for batch in file.iter_batches(16 * PLAN_ROW_GROUP, columns=["unit_id", "pair_frames"]):
        ids, frames = batch["unit_id"], batch["pair_frames"].to_numpy()
        changes = np.flatnonzero(pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)) + 1
        starts = np.concatenate([[0], changes])
        stops = row + np.append(changes, len(ids))
        sums = np.add.reduceat(frames, starts, dtype=np.int64)
        names = ids.take(pa.array(starts)).to_pylist()
        for unit_id, start, stop, total in zip(
            names, (row + starts).tolist(), stops.tolist(), sums.tolist(), strict=True
        ):
            if unit_id == last.unit_id:  # goes on over the seam of two batches
                last = replace(last, stop=stop, pair_frames=last.pair_frames + total)
                continue
            if last.unit_id:
                yield last
            last = Unit(unit_id, part, start, stop, total)
        row += len(ids)
    if last.unit_id:
        yield last


def is_run(folder: str) -> bool:
    """Whether `folder` holds a run."""
    return storage.exists(storage.join(folder, RUN_JSON))


def read_run_json(folder: str) -> dict:
    """What run.json says. Raises InputError if there is none or it is damaged."""
    uri = storage.join(folder, RUN_JSON)
    try:
        return json.loads(storage.read_bytes(uri, limit=10_000_000))
    except FileNotFoundError:
        raise InputError(f"{folder} is not a run: it has no run.json") from None
    except StorageError:
        raise
    except (ValueError, OSError) as error:
        raise InputError(f"{uri} cannot be read: {error}") from None
