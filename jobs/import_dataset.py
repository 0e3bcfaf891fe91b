"""`rvos import`: the folder of a data set becomes a manifest and, if it has masks, annotations."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import storage
from pipeline.datasets import ref_youtube_vos
from pipeline.datasets.imported import ImportedVideo
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, VOID

READERS: dict[str, Callable[[str, str | None], Iterator[ImportedVideo]]] = {"ref-youtube-vos": ref_youtube_vos.read}
ROWS_AT_ONCE = 20_000  # of masks held before they are written as one row group


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportConfig:
    """Options of `rvos import`; see its help for each."""

    dataset: str
    root: str
    out: str
    split: str | None = None

    def __post_init__(self) -> None:
        if self.dataset not in READERS:
            raise InputError(f"no data set '{self.dataset}'; there are {', '.join(READERS)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What was written (URIs, None for what the data set does not have) and what to know about it."""

    manifest: str
    annotations: str | None
    void: str | None
    videos: int
    pairs: int
    mask_rows: int
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [f"{self.manifest}: {self.pairs} pairs in {self.videos} videos"]
        lines += (
            [f"{self.annotations}: {self.mask_rows} rows, one for each object and annotated frame"]
            if self.annotations
            else ["no masks, no annotations"]
        )
        lines += [f"{self.void}: pixels that are not scored"] if self.void else []
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def run(config: ImportConfig) -> ImportResult:
    """Write OUT/manifest.parquet, OUT/annotations.parquet and OUT/void.parquet (the last two if there is cause).

    Nothing is written unless the whole data set is sound; raises InputError that lists all that is wrong. Masks are
    held for a few videos at a time only.
    """
    out = storage.absolute(config.out)
    videos = READERS[config.dataset](config.root, config.split)
    pairs: list[dict] = []
    problems: list[Problem] = []
    warnings: dict[str, list[str]] = defaultdict(list)
    with contextlib.ExitStack() as files:
        annotations = files.enter_context(_MaskFile(storage.join(out, "annotations.parquet"), ANNOTATIONS))
        void = files.enter_context(_MaskFile(storage.join(out, "void.parquet"), VOID))
        for video in videos:
            pairs += video.pairs
            problems += [Problem(f"video {video.video_id}", None, text) for text in video.problems]
            for what, where in video.warnings:
                warnings[what].append(where)
            if not problems:
                annotations.add(video.annotations)
                void.add(video.void)
        if problems:
            raise SchemaError(problems)
        if not pairs:
            raise InputError(f"the data set in {config.root} has no expressions, so there is nothing to write")
        written = {"annotations": annotations.commit(), "void": void.commit()}
    manifest = storage.join(out, "manifest.parquet")
    storage.write_table(manifest, manifest_table(pairs, out))
    return ImportResult(
        manifest=manifest,
        **written,
        videos=len({pair["video_id"] for pair in pairs}),
        pairs=len(pairs),
        mask_rows=annotations.rows,
        warnings=(*_summary(warnings), *_left_over(out, written)),
    )


def manifest_table(pairs: list[dict], out: str) -> pa.Table:
    """MANIFEST rows as a table, attributes last; columns without any value are left out.

    Videos that lie below the folder of the manifest get a URI relative to it, so that the folder can be moved as a
    whole; all others keep their absolute one.
    """
    names = dict.fromkeys([*MANIFEST.names, *(name for pair in pairs for name in pair)])
    columns, fields = [], []
    for name in names:
        values = [pair.get(name) for pair in pairs]
        if name == "video_uri":
            values = [str(uri).removeprefix(f"{out}/") for uri in values]
        if any(value is not None for value in values):
            declared = name in MANIFEST.names
            columns.append(pa.array(values, MANIFEST.field(name).type) if declared else _attribute(values))
            fields.append(MANIFEST.field(name) if declared else pa.field(name, columns[-1].type))
    return pa.table(columns, schema=pa.schema(fields, MANIFEST.metadata))


class _MaskFile(contextlib.AbstractContextManager):
    """A Parquet file of masks in the making, written in large row groups; nothing is visible before `commit`."""

    def __init__(self, uri: str, schema: pa.Schema):
        self.uri, self.rows = uri, 0
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> "_MaskFile":
        self._path = self._closing.enter_context(storage.spool(self.uri))
        self._writer = self._closing.enter_context(pq.ParquetWriter(self._path, self._schema, compression="zstd"))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self.rows += table.num_rows
        if sum(table.num_rows for table in self._waiting) >= ROWS_AT_ONCE:
            self._write()

    def commit(self) -> str | None:
        """Make the file visible, replacing an earlier one; returns its URI, or None if there are no rows."""
        self._write()
        self._writer.close()
        if not self.rows:
            return None
        storage.commit(self._path, self.uri, replace=True)
        return self.uri

    def _write(self) -> None:
        if waiting := [table for table in self._waiting if table.num_rows]:
            self._writer.write_table(pa.concat_tables(waiting))
        self._waiting = []


def _attribute(values: list) -> pa.Array:
    """A column in the type its values have in common, else as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _summary(warnings: dict[str, list[str]]) -> Iterator[str]:
    for what, places in warnings.items():
        subject, _, advice = what.partition("; ")
        yield f"{subject}: {len(places)} (first: {places[0]}); {advice}"


def _left_over(out: str, written: dict[str, str | None]) -> list[str]:
    stale = [storage.join(out, f"{name}.parquet") for name, uri in written.items() if uri is None]
    return [
        f"{uri} is of an earlier import and not of this data set; remove it" for uri in stale if storage.exists(uri)
    ]
