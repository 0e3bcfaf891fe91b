"""A run folder: its identity in run.json, the parts of its plan, and its committed units."""

import contextlib
import re
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.io import output_folder, parquet, storage
from pipeline.io.guarantees import missing_guarantees, remove_probes
from pipeline.runs import moved, plan
from pipeline.runs.hints import read_hint
from pipeline.runs.run_json import RUN_JSON, read_run_json
from schemas.errors import InputError, StorageError
from schemas.pair import PAIR_COLUMNS, PairKey
from schemas.printable import counted
from schemas.shown import shown_json

PART = re.compile(r"(0|[1-9][0-9]{0,8})\.parquet")
UNIT_ID = re.compile(r"[0-9a-f]{20}")  # part of file names
PLAN_ROW_GROUP = 4096  # rows; a worker reads only the row groups of its unit
MANIFEST_DIGEST_KEY = b"refervos.origin"
PLAN = pa.schema(  # columns of every plan part, beside others of its manifest
    [
        ("unit_id", pa.string()),
        ("row_hash", pa.binary()),
        ("pair_frames", pa.int32()),
        *((name, pa.string()) for name in (*PAIR_COLUMNS, "video_uri", "expression")),
    ]
)


class DamagedPlanError(InputError):
    """The plan of a run cannot be read."""


class OtherRunError(InputError):
    """The folder holds a run with another fingerprint."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The position of one unit in the plan: rows start..stop-1 of plan part `part`.

    `generation` is 0, or higher if the unit replaces a committed object to retry its error rows.
    """

    unit_id: str
    part: int
    start: int
    stop: int
    pair_frames: int
    generation: int = 0
    repair: bool = False  # True: replaces an object that cannot be read
    decides: bool = False  # the first unit of the plan, which decides if a fast mode is good enough
    turn: int = 0  # of `pipeline.runs.retry_step.RetryStep`


@dataclass(frozen=True, slots=True)
class Run:
    """One run folder, local or remote. `fingerprint` is the hash of everything that decides its masks."""

    folder: str
    fingerprint: str
    run_id: str = ""  # a folder that is removed and begun again has another one
    otherwise: str = ""  # options of a retry that differ from those of the run

    @classmethod
    def start(
        cls, folder: str, fingerprint: str, fingerprint_inputs: dict, record: dict, *, unsafe: bool = False
    ) -> "Run":
        """Open the run in `folder`, or create it with `record` in its run.json.

        `fingerprint_inputs` holds the options that the fingerprint is the hash of. Raises InputError if the folder
        holds other files, or if its storage cannot keep a new run safe (unless `unsafe`); OtherRunError, which lists
        the differences, if it holds a run with another fingerprint.
        """
        if not cls.exists(folder, fingerprint, fingerprint_inputs):
            missing = missing_guarantees(folder)
            if missing and not unsafe:
                raise InputError(
                    f"the storage of {folder} cannot guarantee that pairs are written once: {'; '.join(missing)}. "
                    "Choose another storage, or use --unsafe-storage and start one command at a time"
                )
            document = {"fingerprint": fingerprint, "decides": fingerprint_inputs, "run_id": uuid.uuid4().hex, **record}
            document["storage"] = {"missing": missing}
            text = shown_json(document, sort_keys=True) + "\n"
            storage.write_bytes(storage.join(folder, RUN_JSON), text.encode(), replace=False)
            cls.exists(folder, fingerprint, fingerprint_inputs)  # another process may have created it first
        return cls.open(folder)

    @classmethod
    def exists(cls, folder: str, fingerprint: str, fingerprint_inputs: dict) -> bool:
        """Return True if `folder` holds this run, False if it is new or empty. Raises as `start`."""
        if not output_folder.has_marker(folder, RUN_JSON):
            return False
        existing = read_run_json(folder)
        if existing["fingerprint"] != fingerprint:
            reason = output_folder.differences(existing.get("decides", {}), fingerprint_inputs) or "the fingerprint"
            raise OtherRunError(
                f"{folder} was created with different options ({reason}); "
                "use the same options, or choose another folder with --new-run"
            )
        return True

    @classmethod
    def open(cls, folder: str) -> "Run":
        """Open an existing run. Raises InputError if `folder` is not a run."""
        document = read_run_json(folder)
        return cls(folder, document["fingerprint"], document.get("run_id", ""))

    def require_there(self) -> None:
        """Raise StorageError if the local folder is not there: what is written would go to the disk below the mount.

        Asks nothing of remote storages, which have no mounts.
        """
        if storage.is_local(self.folder) and not storage.exists(storage.join(self.folder, RUN_JSON)):
            raise StorageError(
                f"{self.folder} has no {RUN_JSON} on host {socket.gethostname()}: the run was removed, or its mount is "
                "missing there; mount it, then repeat the command"
            )

    def require_same(self) -> None:
        """Raise InputError if the folder holds another run by now, StorageError if it is not there on this host."""
        self.require_there()
        if read_run_json(self.folder).get("run_id", "") != self.run_id:
            raise InputError(f"{self.folder} was removed and begun again by another command; this one stops")

    def require_finished(self) -> None:
        """Raise InputError if units are missing, or if nothing is planned."""
        units = {unit.unit_id for unit in self.units()}
        missing = len(units - self.committed())
        if missing or not units:
            text = f"it lacks {missing} of {counted(len(units), 'unit')}" if units else "it has no plan"
            raise InputError(f"{self.folder} is not finished: {text}; repeat its command until it is")

    def note_options(self, options: str) -> None:
        """Record in run.json that pairs are retried with these options, which differ from those of the run."""
        uri = storage.join(self.folder, RUN_JSON)
        while True:
            version, document = storage.version(uri), read_run_json(self.folder)
            noted = document.setdefault("retried_with", [])
            if options in noted:
                return
            noted.append(options)
            with storage.spool(uri) as path:
                Path(path).write_text(shown_json(document, sort_keys=True) + "\n")
                storage.swap(path, uri, version)

    def extend_plan(
        self,
        manifest: pa.Table,
        source: str,
        options: plan.PlanOptions,
        *,
        limit: int | None = None,
        manifest_digest: str = "",
        accepted: Callable[[], None] = lambda: None,
    ) -> None:
        """Add a part to the plan with the pairs of `manifest` (its first `limit` rows) that are not planned yet.

        `manifest_digest` identifies the manifest's content and limit, for `is_planned_from`. `accepted` is called when
        the manifest is found to fit the plan, before that has the digest. Raises InputError if a planned row was
        changed in, or removed from, the manifest.
        """
        parts = self.parts()
        new = self.new_rows(manifest, source, options, limit)
        accepted()
        if not new.num_rows:
            return
        storage.remove(self.success_uri)
        part = plan.plan_part(new, self.fingerprint, options)
        part = part.replace_schema_metadata({MANIFEST_DIGEST_KEY: manifest_digest.encode()})
        uri = self.part_uri(parts[-1] + 1 if parts else 0)
        written = parquet.write_table(uri, part, replace=False, row_group_size=PLAN_ROW_GROUP)
        storage.remove(self.success_uri)  # again: an audit of the shorter plan may have written it meanwhile
        if not written:
            self.extend_plan(manifest, source, options, limit=limit, manifest_digest=manifest_digest, accepted=accepted)

    def is_planned_from(self, manifest_digest: str) -> bool:
        """Return True if the latest part was planned from `manifest_digest`: no rows need to be compared."""
        parts = self.parts()
        if not parts:
            return False
        with parquet.open_file(self.part_uri(parts[-1])) as file:
            return _manifest_digest(file) == manifest_digest

    def new_rows(self, manifest: pa.Table, source: str, options: plan.PlanOptions, limit: int | None) -> pa.Table:
        """Return the rows of `manifest` (of its first `limit`) that are not planned yet. Raises as `extend_plan`."""
        if reserved := sorted({*plan.PLAN_COLUMNS, plan.SOURCE_UNIT} & set(manifest.column_names)):
            raise InputError(f"{source}: column names {', '.join(reserved)} are reserved for the plan; rename them")
        parts = self.parts()
        if not parts:
            return plan.limited_rows(manifest, limit, None, options)
        planned = self.planned_hashes()
        new = plan.compare_with_plan(manifest, planned, source)
        count = None if limit is None else max(0, limit - planned.num_rows)
        return plan.limited_rows(new, count, planned, options)

    def planned_hashes(self) -> pa.Table:
        """Return the pair and the row_hash of each planned row."""
        return self._read_plan([*PAIR_COLUMNS, "row_hash"])

    def parts(self) -> list[int]:
        """Return the numbers of the plan parts in ascending order."""
        names = storage.names(storage.join(self.folder, "plan"), missing_ok=True)
        return sorted(int(found[1]) for name in names if (found := PART.fullmatch(name)))

    def planned_uris(self) -> pa.Table:
        """Return the distinct video_id and video_uri of the plan."""
        return self._read_plan(moved.COLUMNS).group_by(moved.COLUMNS).aggregate([])

    def units(self) -> list[Unit]:
        """Return all planned units, part by part, in the order of the plan: longest first.

        Raises InputError if the plan is damaged.
        """
        found: dict[str, Unit] = {}
        for part in self.parts():
            with self._part_named(part), parquet.open_file(self.part_uri(part)) as file:
                self._require_plan(part, file.schema_arrow)
                for unit in _units_of(part, file):
                    other = found.setdefault(unit.unit_id, unit)
                    if other is not unit:
                        text = f"unit {unit.unit_id} is in part {other.part} and again in part {part}"
                        raise self._damaged(text)
        return list(found.values())

    def committed(self) -> set[str]:
        """Return the ids of the committed units."""
        names = storage.names(storage.join(self.folder, "masks"), missing_ok=True)
        return {name.removesuffix(".parquet") for name in names if name.endswith(".parquet")}

    def manifest(self) -> pa.Table:
        """Read all planned rows, with the columns of the manifest."""
        tables = [self.read_part(part) for part in self.parts()]
        if not tables:
            raise InputError(f"{self.folder} has no plan yet")
        manifest = pa.concat_tables(tables, promote_options="default")
        counts = manifest.group_by(PAIR_COLUMNS).aggregate([([], "count_all")])
        if counts.num_rows < manifest.num_rows:
            again = counts.filter(pc.greater(counts["count_all"], 1)).slice(0, 1).to_pylist()[0]
            raise self._damaged(f"{PairKey.of(again)} is planned twice")
        manifest = manifest.drop_columns([*plan.PLAN_COLUMNS, *({plan.SOURCE_UNIT} & set(manifest.column_names))])
        return moved.with_present_uris(manifest, self.folder)

    @property
    def success_uri(self) -> str:
        """Written by an audit that found every pair exactly once; removed when the plan grows."""
        return storage.join(self.folder, "_SUCCESS")

    def is_sealed(self, generations: int) -> bool:
        """Return True if _SUCCESS is about the present plan and `generations`, the sum over the units."""
        try:
            seal = read_hint(self.success_uri, limit=1_000_000)
            return seal["plan"] == self.parts() and seal["generations"] == generations
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return False

    def masks_uri(self, unit_id: str) -> str:
        return storage.join(self.folder, "masks", f"{unit_id}.parquet")

    def planned_limit(self) -> str | None:
        """Return --limit of the latest plan part, None without."""
        with parquet.open_file(self.part_uri(self.parts()[-1])) as file:
            limit = _manifest_digest(file).rpartition(" ")[2]
        return None if limit in ("", "None") else limit

    def sweep(self) -> None:
        """Remove hidden files and folders that killed commands left."""
        for name in ("plan", "masks", "log", "receipts"):
            storage.remove_parts(storage.join(self.folder, name))
        storage.remove_parts(self.folder)
        remove_probes(self.folder)

    def write_log(self, invocation: str, document: dict) -> None:
        """Write log/<invocation>.json, the record of one invocation. Raises StorageError as `require_there`."""
        self.require_there()
        uri = storage.join(self.folder, "log", f"{invocation}.json")
        storage.write_bytes(uri, f"{shown_json(document)}\n".encode())

    def part_uri(self, part: int) -> str:
        return storage.join(self.folder, "plan", f"{part}.parquet")

    def _read_plan(self, columns: list[str]) -> pa.Table:
        """Read columns of PLAN of the whole plan; no rows if there is none."""
        empty = pa.schema([PLAN.field(name) for name in columns]).empty_table()
        return pa.concat_tables(
            [empty, *(self.read_part(part, columns) for part in self.parts())], promote_options="default"
        )

    def read_part(self, part: int, columns: list[str] | None = None) -> pa.Table:
        """Read a plan part: PLAN_COLUMNS and the columns of the manifest, or some of them.

        Raises InputError if the plan is damaged.
        """
        with self._part_named(part):
            table = parquet.read_table(self.part_uri(part), columns)
        self._require_plan(part, table.schema, columns)
        return table

    def _require_plan(self, part: int, schema: pa.Schema, columns: list[str] | None = None) -> None:
        """Raise InputError if a plan part lacks `columns` (None: those of every plan), or has others in their place."""
        for name in PLAN.names if columns is None else columns:
            if name not in schema.names:
                raise self._damaged(f"part {part} has no column {name}")
            if name in PLAN.names and schema.field(name).type != PLAN.field(name).type:
                raise self._damaged(f"column {name} of part {part} has the type {schema.field(name).type}")

    @contextlib.contextmanager
    def _part_named(self, part: int) -> Iterator[None]:
        """Say what to do about a plan part that cannot be read."""
        try:
            yield
        except DamagedPlanError:
            raise
        except InputError as error:
            raise DamagedPlanError(f"{error}; {self.way_out(part)}") from None

    def way_out(self, part: int) -> str:
        """Return what to do about a plan part that is damaged: only the last one can be planned again."""
        if part != self.parts()[-1]:
            return "restore it, or choose another run folder"
        return (
            f"restore {self.part_uri(part)}; or remove it and repeat the command of the run with the same manifest and "
            "options, which plans it again and keeps all committed units"
        )

    def _damaged(self, reason: str) -> InputError:
        return DamagedPlanError(
            f"the plan of {self.folder} is damaged: {reason}; restore it, or choose another run folder"
        )


def _manifest_digest(file: pq.ParquetFile) -> str:
    return (file.schema_arrow.metadata or {}).get(MANIFEST_DIGEST_KEY, b"").decode()


def _units_of(part: int, file: pq.ParquetFile) -> Iterator[Unit]:
    """Yield a unit for each run of rows with the same unit_id."""
    row, last = 0, Unit("", part, 0, 0, 0)
    for batch in file.iter_batches(16 * PLAN_ROW_GROUP, columns=["unit_id", "pair_frames"]):
        ids, frames = batch["unit_id"], batch["pair_frames"].to_numpy()
        starts = plan.run_starts(ids)
        stops = row + np.append(starts[1:], len(ids))
        sums = np.add.reduceat(frames, starts, dtype=np.int64)
        names = [*ids.take(pa.array(starts)).to_pylist(), *([None] if ids.null_count else [])]
        if odd := [name for name in names if not UNIT_ID.fullmatch(name or "")]:
            raise InputError(f"{odd[0]!a} in part {part} of the plan is not the id of a unit; start a new run")
        for unit_id, start, stop, total in zip(
            names, (row + starts).tolist(), stops.tolist(), sums.tolist(), strict=True
        ):
            if unit_id == last.unit_id:  # continues from the previous batch
                last = replace(last, stop=stop, pair_frames=last.pair_frames + total)
                continue
            if last.unit_id:
                yield last
            last = Unit(unit_id, part, start, stop, total)
        row += len(ids)
    if last.unit_id:
        yield last
