"""`rvos export`: write the masks of a run in the formats that others read, and validate zips for servers."""

import pkgutil
from dataclasses import asdict, dataclass, field, fields, replace

from jobs.config.export import FORMATS, ExportConfig, ValidateConfig
from jobs.result import JobResult
from jobs.terminal.progress import count
from pipeline.export.servers import SERVERS, find_server
from pipeline.export.validation import FAULT_KINDS, Findings, validate_submission
from pipeline.io import output_folder, storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from schemas.errors import InputError
from schemas.printable import counted, one_line


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult(JobResult):
    """Result of an export. The exit code is 1 if pairs were left out: those that failed or have no masks."""

    form: str
    out: str
    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return int(self.counts.get("failed", 0) > 0 or self.counts.get("unseen", 0) > 0)

    def text(self) -> str:
        lines = [f"{'out':<12}{self.out}", f"{'form':<12}{self.form}"]
        lines += [f"{name:<12}{count:,}" for name, count in self.counts.items()]
        return "\n".join([*lines, *(f"{'note':<12}{one_line(note)}" for note in self.notes)])


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateResult(JobResult):
    """The mistakes of a submission, by kind."""

    zip: str
    server: str
    findings: Findings

    @property
    def exit_code(self) -> int:
        return int(bool(self.findings.counts))

    def to_json(self) -> dict:
        return {"zip": self.zip, "server": self.server, "sound": not self.exit_code, **asdict(self.findings)}

    def text(self) -> str:
        found = self.findings
        pairs, videos = counted(found.pairs, "expression", ","), counted(found.videos, "video", ",")
        contents = f"{counted(found.files, 'mask', ',')} of {pairs} in {videos}"
        lines = [f"zip         {self.zip}", f"server      {SERVERS[self.server].title}", f"contents    {contents}"]
        for kind, meaning in FAULT_KINDS.items():
            if kind in found.counts:
                lines.append(f"{kind:<12}{found.counts[kind]:,} {meaning}")
                lines += [f"            {one_line(text)}" for text in found.examples[kind]]
        lines += [f"note        {one_line(note)}" for note in found.notes]
        return "\n".join([*lines, f"result      {'mistakes found' if self.exit_code else 'no mistake found'}"])


def run(config: ExportConfig | ValidateConfig) -> ExportResult | ValidateResult:
    """Export or validate. Raises InputError, naming pair and frame, for masks that cannot be exported."""
    if isinstance(config, ValidateConfig):
        return _validate(config)
    source = MaskSource.open(config.run, config.manifest, allow_local=config.allow_local)
    source = replace(source, on_progress=count("videos exported"))
    form = next(form for form in FORMATS if form.config is type(config))
    write = pkgutil.resolve_name(form.writer)
    out = storage.absolute(config.out)
    output_folder.require_outside(out, source.uri)
    common = {one.name for one in fields(ExportConfig)}
    options = {one.name: getattr(config, one.name) for one in fields(config) if one.name not in common}
    if form.needs_manifest:
        source.require_manifest()
    if not form.to_folder:
        if storage.is_folder(out):
            raise InputError(f"{out} is a folder; give the path of a file")
        output_folder.require_folder(storage.parent(out))
        with output_folder.without_new_folders(storage.parent(out)):
            written = write(source, out, **options)
    else:
        made_of = {"form": form.name, **asdict(config), "run": source.uri}
        for name in ("out", "allow_private", "allow_local"):  # the folder may be moved; access does not change files
            del made_of[name]
        made_of.pop("missing", None)  # an interrupted export wrote the same files either way
        with output_folder.filling(out, made_of) as counts:
            written = write(source, out, **options)
            counts |= written.counts
    return ExportResult(form=form.name, out=out, counts=written.counts, notes=written.notes)


def _validate(config: ValidateConfig) -> ValidateResult:
    manifest = None if config.manifest is None else read_manifest(config.manifest)
    uri = storage.absolute(config.zip)
    if not storage.exists(uri) or storage.is_folder(uri):
        raise InputError(f"no zip at {uri}")
    findings = validate_submission(uri, find_server(config.server), manifest)
    return ValidateResult(zip=uri, server=config.server, findings=findings)
