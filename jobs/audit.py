"""`rvos audit`: verify that every pair of the plan, and of the manifest, was written exactly once."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.config.audit import AuditConfig
from jobs.result import JobResult
from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.runs.audit import KINDS, Audit, audit_run
from pipeline.runs.audit_against import compare_with_compacted, compare_with_manifest
from pipeline.runs.commit import mixed_text
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json
from schemas.printable import counted, one_line

SHOWN = 10  # findings of each kind that are printed


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditResult(JobResult):
    """The findings; see `pipeline.runs.audit.Audit`."""

    run: str
    audit: Audit
    compared: tuple[str, ...] = ()  # with the run: manifest and compacted masks
    note: str | None = None

    @property
    def exit_code(self) -> int:
        return 0 if self.audit.clean else 1

    def to_json(self) -> dict:
        return {
            "run": self.run,
            "clean": self.audit.clean,
            "pairs": self.audit.pairs,
            "with_masks": self.audit.with_masks,
            "failed": dict(self.audit.failed),
            "frames": self.audit.frames,
            **{kind: self.audit.counts[kind] for kind in KINDS},
            "otherwise": dict(self.audit.otherwise),
            "listed": self.audit.listed,
            "compared": self.compared,
            "note": self.note,
        }

    def text(self) -> str:
        audit = self.audit
        classes = ", ".join(f"{status} {count}" for status, count in sorted(audit.failed.items()))
        failed = f"{audit.failed.total()} failed{f' ({classes})' if classes else ''}"
        verdict = "clean: every pair is there exactly once" if audit.clean else "NOT clean"
        lines = [
            f"run     {self.run}",
            f"pairs   {audit.pairs} planned: {audit.with_masks} with masks, {failed}; {counted(audit.frames, 'mask')}",
            "found   " + ", ".join(f"{audit.counts[kind]} {kind}" for kind in KINDS),
        ]
        for kind in KINDS:
            lines += [f"{kind:<11}{one_line(text)}" for text in audit.listed[kind][:SHOWN]]
            if audit.counts[kind] > SHOWN:
                lines.append(f"{kind:<11}... and {audit.counts[kind] - SHOWN} more")
        lines += [f"against {uri}" for uri in self.compared]
        lines += [f"note    {self.note}"] if self.note else []
        return "\n".join([*lines, verdict])


def run(config: AuditConfig) -> AuditResult:
    """Audit the run, and compare it with a manifest and a compacted data set if given.

    Writes _SUCCESS to a clean run and removes it from any other. Raises InputError if the folder is not a run, or if
    the manifest or data set cannot be read.
    """
    the_run = Run.open(storage.absolute(config.run))
    settings = read_run_json(the_run.folder).get("config", {})
    manifest = None
    if config.manifest:  # as the run has read it
        manifest = read_manifest(config.manifest, allow_local=bool(settings.get("allow_local")))
    audit = audit_run(the_run)
    if manifest is not None:
        compare_with_manifest(audit, the_run, manifest)
    if config.compacted is not None:
        compare_with_compacted(audit, the_run, storage.absolute(config.compacted))
    note = "; ".join(_notes(the_run, audit)) or None
    compared = tuple(uri for uri in (config.manifest, config.compacted) if uri)
    return AuditResult(run=the_run.folder, audit=audit, compared=compared, note=note)


def _notes(the_run: Run, audit: Audit) -> Iterator[str]:
    """Yield what a reader of the masks should know. Writes or removes _SUCCESS."""
    if missing := read_run_json(the_run.folder).get("storage", {}).get("missing"):
        yield f"created with --unsafe-storage: {'; '.join(missing)}"
    if len(audit.made_with) > 1:
        yield mixed_text(audit.made_with)
    if listed := "; ".join(f"{count} with {options}" for options, count in sorted(audit.otherwise.items())):
        yield f"pairs made with other options than the run: {listed}"
    if note := _seal(the_run, audit):
        yield note


def _seal(the_run: Run, audit: Audit) -> str | None:
    """Write _SUCCESS if the run is clean, else remove it. Returns a note if that is not possible."""
    seal = {
        "audited": datetime.now(UTC).isoformat(timespec="seconds"),
        "pairs": audit.pairs,
        "frames": audit.frames,
        "generations": audit.generations,
    }
    try:
        if not audit.clean:
            storage.remove(the_run.success_uri)
            return None
        seal |= {"plan": audit.parts, "limit": the_run.planned_limit()}
        storage.write_bytes(the_run.success_uri, (json.dumps(seal) + "\n").encode())
        if the_run.parts() != audit.parts:
            storage.remove(the_run.success_uri)
            return "the plan has grown during the audit, so _SUCCESS is not written; audit again"
    except OSError as error:
        verb = "written" if audit.clean else "removed"
        return f"_SUCCESS cannot be {verb}: {error.strerror or error}"
    return None
