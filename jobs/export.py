"""`rvos export`: the masks of a run in the forms that servers, viewers and trainers read; and a look at any zip."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.export.all_frames import Missing
from pipeline.export.coco_video import write_coco_video
from pipeline.export.davis import write_davis
from pipeline.export.overlay import write_overlays
from pipeline.export.review import write_review
from pipeline.export.submission import SERVERS, write_submission
from pipeline.export.validation import KINDS, Findings, validate
from pipeline.export.webdataset import write_webdataset
from pipeline.io import output_folder, storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.by_video import MaskSource
from pipeline.masks.predictions import manifest_of
from schemas.errors import InputError

FRAME_LISTS = ("frames", "frame_indices", "target_frames")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportConfig:
    """What all exports have: RUN is a run or a folder of Parquet, `manifest` chooses among its pairs."""

    run: str
    out: str
    manifest: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class SubmissionConfig(ExportConfig):
    """Options of `rvos export submission`; see its help for each."""

    server: str
    missing: Missing = "error"

    def __post_init__(self) -> None:
        _server(self.server)


@dataclass(frozen=True, kw_only=True, slots=True)
class DavisConfig(ExportConfig):
    """Options of `rvos export davis`."""

    missing: Missing = "error"


@dataclass(frozen=True, kw_only=True, slots=True)
class CocoVideoConfig(ExportConfig):
    """Options of `rvos export coco-video`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReviewConfig(ExportConfig):
    """Options of `rvos export review`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OverlayConfig(ExportConfig):
    """Options of `rvos export overlay`."""

    form: Literal["mp4", "gif"] = "mp4"
    fps: int = 10
    max_size: int = 640
    limit: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class WebDatasetConfig(ExportConfig):
    """Options of `rvos export webdataset`."""

    shard_mb: int = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateConfig:
    """Options of `rvos export validate`."""

    zip: str
    server: str
    manifest: str | None = None

    def __post_init__(self) -> None:
        _server(self.server)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What was written where; `failed` pairs have no masks and were left out."""

    form: str
    out: str
    counts: dict[str, int]
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return int(self.counts.get("failed", 0) > 0 or self.counts.get("unseen", 0) > 0)

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{'out':<12}{self.out}", f"{'form':<12}{self.form}"]
        lines += [f"{name:<12}{count:,}" for name, count in self.counts.items()]
        return "\n".join([*lines, *(f"{'note':<12}{note}" for note in self.notes)])


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateResult:
    """What is wrong with a submission, by kind."""

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
        there = f"{found.files:,} masks of {found.pairs:,} expressions in {found.videos:,} videos"
        lines = [f"zip         {self.zip}", f"server      {SERVERS[self.server].title}", f"there       {there}"]
        for kind, what in KINDS.items():
            if kind in found.counts:
                lines.append(f"{kind:<12}{found.counts[kind]:,} {what}")
                lines += [f"            {text}" for text in found.examples[kind]]
        lines += [f"note        {note}" for note in found.notes]
        return "\n".join([*lines, f"result      {'mistakes found' if self.exit_code else 'no mistake found'}"])


def run(config: ExportConfig | ValidateConfig) -> ExportResult | ValidateResult:
    """Do it. Raises InputError for what cannot be exported, naming pair and frame."""
    if isinstance(config, ValidateConfig):
        manifest = None if config.manifest is None else read_manifest(config.manifest)
        uri = storage.absolute(config.zip)
        if not storage.exists(uri) or storage.is_folder(uri):
            raise InputError(f"no zip at {uri}")
        return ValidateResult(zip=uri, server=config.server, findings=validate(uri, _server(config.server), manifest))
    source = MaskSource.open(config.run, config.manifest)
    form, write, in_folder = _EXPORTS[type(config)]
    out = storage.absolute(config.out)
    if f"{out}/".startswith(f"{source.uri}/"):
        raise InputError(f"{out} lies in {source.uri}, which stays as it is; name a place outside")
    if not in_folder:
        if storage.is_folder(out):
            raise InputError(f"{out} is a folder; name the file to write")
        storage.require_folder(storage.parent(out))
        written = write(config, source, out)
    else:
        if isinstance(config, OverlayConfig | WebDatasetConfig):
            source.require_manifest()
        made_of = {"form": form, **asdict(config), "run": source.uri}
        del made_of["out"]  # it may be moved
        made_of.pop("missing", None)  # what is written before frames are found missing is the same either way
        output_folder.claim(out, made_of)
        written = write(config, source, out)
        output_folder.finish(out, made_of, _counts(written))
    notes = [*getattr(written, "reasons", []), *_notes(written)]
    if isinstance(config, SubmissionConfig):
        notes += SERVERS[config.server].beside_published(written.videos, written.pairs)
    if isinstance(config, SubmissionConfig | DavisConfig):
        notes += _steps(config.run, source)
    return ExportResult(form=form, out=out, counts=_counts(written), notes=notes)


def _steps(run: str, source: MaskSource) -> Iterator[str]:
    """A word on frames that nobody listed and the run passed over: servers want them all."""
    step = manifest_of(run, None)[1]
    if step > 1 and source.manifest is not None and _lists_nothing(source.manifest):
        yield f"the run took 1 of {step} frames (--frame-step); where the manifest lists none, no others are written"


def _lists_nothing(manifest: pa.Table) -> bool:
    """Whether some row has no list of frames."""
    absent = [manifest[name].is_null() for name in FRAME_LISTS if name in manifest.column_names]
    return not absent or pc.any(functools.reduce(pc.and_, absent)).as_py()


def _submission(config: SubmissionConfig, source: MaskSource, out: str) -> Any:
    return write_submission(source.videos(), _server(config.server), out, config.missing)


def _davis(config: DavisConfig, source: MaskSource, out: str) -> Any:
    return write_davis(source.videos(), out, config.missing)


def _coco_video(config: CocoVideoConfig, source: MaskSource, out: str) -> Any:
    return write_coco_video(source.videos(), out)


def _review(config: ReviewConfig, source: MaskSource, out: str) -> Any:
    return write_review(source.videos(), out)


def _overlay(config: OverlayConfig, source: MaskSource, out: str) -> Any:
    return write_overlays(source.videos(), out, config.form, config.fps, config.max_size, config.limit)


def _webdataset(config: WebDatasetConfig, source: MaskSource, out: str) -> Any:
    return write_webdataset(source.videos(), source.require_manifest().schema, out, config.shard_mb * 2**20)


# Of each config: the name of the form, what writes it, and whether that is a folder.
_EXPORTS: dict[type, tuple[str, Callable[[Any, MaskSource, str], Any], bool]] = {
    SubmissionConfig: ("submission", _submission, False),
    DavisConfig: ("davis", _davis, True),
    CocoVideoConfig: ("coco-video", _coco_video, False),
    ReviewConfig: ("review", _review, True),
    OverlayConfig: ("overlay", _overlay, True),
    WebDatasetConfig: ("webdataset", _webdataset, True),
}


def _server(name: str):
    if name not in SERVERS:
        raise InputError(f"no server '{name}'; there are {', '.join(SERVERS)}")
    return SERVERS[name]


def _counts(written: Any) -> dict[str, int]:
    counts = {name: len(value) if name == "shards" else value for name, value in asdict(written).items()}
    return {name: value for name, value in counts.items() if isinstance(value, int)}


def _notes(written: Any) -> list[str]:
    notes = []
    if filled := getattr(written, "filled", 0):
        notes.append(f"{filled} frames had no mask and count as empty")
    if overlaps := getattr(written, "overlaps", 0):
        notes.append(f"{overlaps} pixels lay in several masks and went to the one with the highest frame score")
    return notes
