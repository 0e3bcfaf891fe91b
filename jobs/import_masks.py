"""`rvos import masks`: masks that another tool wrote become a run."""

import hashlib
import json
import os
import uuid
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa

from jobs.config.import_dataset import ImportConfig
from jobs.result import JobResult, Skipped, error_lines, skipped_of
from jobs.segment_record import record_with
from jobs.terminal.progress import count
from pipeline.imported.source import Source, extra_pairs, open_source
from pipeline.imported.units import UnitImporter
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.png_trees import PngReading
from pipeline.runs.commit import Receipt
from pipeline.runs.log import invocation_log
from pipeline.runs.moved import note_moved_videos, with_corrected_uris, with_other_uris
from pipeline.runs.plan import PlanOptions
from pipeline.runs.receipts import ReceiptNotes, receipts_of
from pipeline.runs.run import OtherRunError, Run
from schemas.errors import InputError
from schemas.printable import counted, one_line
from schemas.shown import without_secrets

FORM = "imported masks"
IMPORT_VERSION = 1  # of the rules by which masks are taken over
LISTED = 5  # of each kind


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportMasksResult(JobResult):
    """The content of the run. `extra`: pairs of the source that the manifest lacks, of label maps its videos."""

    run: str
    source: str
    meaning: str
    pairs: int
    there_before: int
    failed: dict[str, int]
    errors: list[str]
    frames: int
    filled: int
    extra: int
    first_extra: list[str]
    skipped: tuple[Skipped, ...]

    @property
    def exit_code(self) -> int:
        return 1 if self.failed else 0

    def text(self) -> str:
        bad = sum(self.failed.values())
        before = f" ({self.there_before} were there before)" if self.there_before else ""
        lines = [
            f"run     {self.run}",
            f"from    {self.source}: {self.meaning}",
            f"pairs   {self.pairs}: {self.pairs - bad} with masks, {bad} without{before}",
            f"frames  {counted(self.frames, 'mask')}"
            + (f", {self.filled} of them empty for missing ones" if self.filled else ""),
        ]
        lines += [one.line() for one in self.skipped]
        if self.extra:
            more = " ..." if self.extra > len(self.first_extra) else ""
            lines.append(f"left out: {self.extra} not in the manifest: {one_line(', '.join(self.first_extra))}{more}")
        return "\n".join([*lines, *error_lines(self.errors, bad)])


def run(config: ImportConfig) -> ImportMasksResult:
    """Bring the run up to date with the masks: every pair ends as masks or as one error row, exactly once.

    Units that are there are kept. Raises InputError if the masks cannot be read, fit no pair, or are other ones than
    those in the run.
    """
    assert config.manifest is not None
    manifest = read_manifest(config.manifest, allow_local=config.allow_local)
    reading = PngReading(os.cpu_count() or 1, count("masks read"))
    folder = storage.absolute(config.out)
    if folder == storage.absolute(config.root):
        raise InputError(f"{config.out} holds the masks; write the run to another folder")
    with open_source(config.root, manifest, reading, force=config.force) as source:
        the_run = _start(config, folder, source)
        _extend_plan(the_run, manifest, config.manifest)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
        units, committed = the_run.units(), the_run.committed()
        todo = [unit for unit in units if unit.unit_id not in committed]
        record = {"command": {"name": name, "form": FORM}, "units": len(todo)}
        with invocation_log(the_run, name, record) as log, ReceiptNotes(the_run, name) as notes:
            importer, receipts = UnitImporter(the_run, source, config.missing, config.force), list[Receipt]()  # pyright: ignore[reportArgumentType]
            if todo:
                storage.remove(the_run.success_uri)
            for unit in todo:
                receipts.append(importer.write(unit))
                notes.add(receipts[-1])
            earlier = [*receipts_of(the_run, (unit.unit_id for unit in units if unit.unit_id in committed))]
            result = _sum_up(the_run, source, receipts, earlier, importer.filled, extra_pairs(source, manifest))
            the_run.sweep()
            log |= result.to_json()
    return result


def _start(config: ImportConfig, folder: str, source: Source) -> Run:
    """Open or begin the run. Its run.json says where the masks came from, and how they were read."""
    inputs = {
        "form": FORM,
        "import_version": IMPORT_VERSION,
        "masks": source.digest,
        "meaning": source.meaning,
        "missing": config.missing,
    }
    fingerprint = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32]
    options: dict[str, Any] = {name: asdict(config)[name] for name in ("missing", "allow_local", "allow_private")}
    paths = {"source": config.root, "manifest": config.manifest or "", "run": config.out}
    record = record_with(options | {name: without_secrets(storage.absolute(uri)) for name, uri in paths.items()})
    try:
        return Run.start(folder, fingerprint, inputs, record, unsafe=config.unsafe_storage)
    except OtherRunError as error:
        reason = str(error).partition("; ")[0]
        raise InputError(f"{reason}; import into another folder, or remove this run") from None


def _extend_plan(the_run: Run, manifest: pa.Table, name: str) -> None:
    """Plan new rows. Planned ones may have another `video_uri` by now, since masks do not depend on it."""
    in_plan = the_run.planned_uris()
    planned = with_corrected_uris(manifest, the_run.folder, in_plan, with_other_uris(manifest, in_plan))
    accepted = partial(note_moved_videos, the_run.folder, in_plan, planned, manifest)
    try:
        the_run.extend_plan(planned, name, PlanOptions(), accepted=accepted)
    except InputError as error:
        reason = str(error).partition("; restore")[0]  # what `rvos segment` can do has other options
        raise InputError(f"{reason}; restore these rows, or import into another folder") from None


def _sum_up(
    the_run: Run, source: Source, fresh: list[Receipt], earlier: list[Receipt], filled: int, extra: list
) -> ImportMasksResult:
    failed, left_out, errors = Counter[str](), dict[str, tuple[int, str]](), list[str]()
    for receipt in [*fresh, *earlier]:
        failed.update(receipt.failed)
        errors += receipt.errors[: LISTED - len(errors)]
        for reason, number, place in receipt.left_out:
            before = left_out.get(reason, (0, place))
            left_out[reason] = before[0] + number, before[1]
    return ImportMasksResult(
        run=the_run.folder,
        source=source.uri,
        meaning=source.meaning,
        pairs=sum(receipt.pairs for receipt in [*fresh, *earlier]),
        there_before=sum(receipt.pairs for receipt in earlier),
        failed=dict(failed),
        errors=errors,
        frames=sum(receipt.frames for receipt in [*fresh, *earlier]),
        filled=filled,
        extra=len(extra),
        first_extra=[str(key) if key.expression_id else key.video_id for key in extra[:LISTED]],
        skipped=skipped_of(left_out),
    )
