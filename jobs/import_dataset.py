"""`rvos import`: the folder of a data set becomes a manifest and, if it has masks, annotations."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.config.import_dataset import DATA_SETS as OPTIONS
from jobs.config.import_dataset import ImportConfig
from pipeline.datasets import (
    a2d,
    coco_video,
    davis,
    folder,
    jhmdb,
    long_rvos,
    mevis,
    ref_davis17,
    ref_youtube_vos,
    revos,
)
from pipeline.datasets.common.dataset_video import ATTRIBUTES_WITH_A_COLUMN, DatasetVideo, Published, pair_name
from pipeline.evaluation.protocols import RESERVED
from pipeline.io import output_folder, storage
from schemas.check import Problem, SchemaError
from schemas.errors import InputError
from schemas.manifest import MANIFEST
from schemas.masks import ANNOTATIONS, VOID

ROWS_AT_ONCE = 20_000  # held before they are written, or packed
RENAMED = "attributes with the name of a column of scores; they have an underscore behind it now"
MAX_PROBLEMS = 1000  # after so many the rest of the data set is not looked at


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a data set is read, and what its authors say it holds."""

    read: Callable[..., Iterator[DatasetVideo]]
    published: tuple[Published, ...] = ()


DATA_SETS = {
    "ref-youtube-vos": DataSet(ref_youtube_vos.read, published=ref_youtube_vos.PUBLISHED),
    "ref-davis17": DataSet(ref_davis17.read, published=ref_davis17.PUBLISHED),
    "davis": DataSet(davis.read, published=davis.PUBLISHED),
    "mevis": DataSet(mevis.read, published=mevis.PUBLISHED_V1),
    "mevis-v2": DataSet(partial(mevis.read, version=2), published=mevis.PUBLISHED_V2),
    "a2d": DataSet(a2d.read, a2d.PUBLISHED),
    "jhmdb": DataSet(jhmdb.read, jhmdb.PUBLISHED),
    "revos": DataSet(revos.read, published=revos.PUBLISHED),
    "long-rvos": DataSet(long_rvos.read, published=long_rvos.PUBLISHED),
    "coco-video": DataSet(coco_video.read),
    "folder": DataSet(folder.read),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportResult:
    """What was written (URIs, None for what the data set does not have) and what to know about it."""

    manifest: str | None
    annotations: str | None
    void: str | None
    foreground: str | None
    videos: int
    pairs: int
    objects: int
    mask_rows: int
    published: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        lines = [
            f"{self.manifest}: {self.pairs} pairs in {self.videos} videos"
            if self.manifest
            else f"no expressions, no manifest: {self.videos} videos"
        ]
        lines += [f"published, {counts}" for counts in self.published]
        lines += (
            [f"{self.annotations}: {self.objects} objects; {self.mask_rows} rows, one for each and annotated frame"]
            if self.annotations
            else ["no masks, no annotations"]
        )
        lines += [f"{self.void}: pixels that are not scored"] if self.void else []
        lines += [f"{self.foreground}: pixels of any object"] if self.foreground else []
        return "\n".join([*lines, *(f"warning: {warning}" for warning in self.warnings)])


def run(config: ImportConfig) -> ImportResult:
    """Write OUT/manifest.parquet, and OUT/annotations.parquet, void.parquet and foreground.parquet if there is cause.

    Nothing is written unless the whole data set is sound; raises InputError that lists all that is wrong. Masks are
    held for a few videos at a time only, pairs as packed columns.
    """
    out = storage.absolute(config.out)
    output_folder.require_folder(out)
    videos = read_dataset(config)
    pairs = _Pairs(out)
    ids: set[str] = set()
    objects = 0
    problems: list[Problem] = []
    warnings: dict[str, tuple[int, str]] = {}  # how often, and where first
    with contextlib.ExitStack() as files:

        def mask_file(name: str, schema: pa.Schema) -> "_MaskFile":
            return files.enter_context(_MaskFile(storage.join(out, f"{name}.parquet"), schema))

        masks = {
            "annotations": mask_file("annotations", ANNOTATIONS),
            "void": mask_file("void", VOID),
            "foreground": mask_file("foreground", VOID),
        }
        for video in videos:
            problems += [Problem(f"video {video.video_id}", None, text) for text in _all_problems(video, ids)]
            ids.add(video.video_id)
            _rename_reserved(video)
            for what, where in video.warnings:
                count, first = warnings.get(what, (0, where))
                warnings[what] = count + 1, first
            if not problems:
                pairs.add(video.pairs)
                objects += len(pc.unique(video.annotations["object_id"]))
                for name, file in masks.items():
                    file.add(getattr(video, name))
            elif len(problems) > MAX_PROBLEMS:
                break
        if problems:
            raise SchemaError(problems)
        if not pairs.count and not masks["annotations"].rows:
            raise InputError(f"the data set in {config.root} has no expressions, so there is nothing to write")
        manifest = storage.join(out, "manifest.parquet") if pairs.count else None
        table = pairs.table()  # made before anything is visible
        written = {name: file.commit() for name, file in masks.items()}
    if manifest:
        storage.write_table(manifest, table)
    return ImportResult(
        manifest=manifest,
        **written,
        videos=pairs.videos if manifest else len(ids),
        pairs=pairs.count,
        objects=objects,
        mask_rows=masks["annotations"].rows,
        published=tuple(map(str, _published(config, pairs.splits))),
        warnings=(*_summary(warnings), *_left_over(out, written | {"manifest": manifest})),
    )


def read_dataset(config: ImportConfig) -> Iterator[DatasetVideo]:
    """The videos of the data set."""
    options = {name: getattr(config, name) for name in OPTIONS[config.dataset]}
    return DATA_SETS[config.dataset].read(config.root, **options)


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
        if name in ATTRIBUTES_WITH_A_COLUMN:
            values = [None if value is None else str(value) for value in values]
        if any(value is not None for value in values):
            declared = name in MANIFEST.names
            columns.append(pa.array(values, MANIFEST.field(name).type) if declared else _attribute(values))
            fields.append(MANIFEST.field(name) if declared else pa.field(name, columns[-1].type))
    return pa.table(columns, schema=pa.schema(fields, MANIFEST.metadata))


class _Pairs:
    """The manifest in the making: many pairs as packed columns, the latest as rows."""

    def __init__(self, out: str):
        self.count = self.videos = 0
        self.splits: set[str | None] = set()
        self._out = out
        self._packed: list[pa.Table] = []
        self._rows: list[dict] = []

    def add(self, pairs: list[dict]) -> None:
        """Take the pairs of one video. How many objects each means becomes the attribute `num_targets`."""
        self.count += len(pairs)
        self.videos += bool(pairs)
        self.splits |= {pair.get("split") for pair in pairs}
        for pair in pairs:
            known = pair.get("object_ids")
            self._rows.append(pair if known is None else {**pair, "num_targets": len(known)})
        if len(self._rows) >= ROWS_AT_ONCE:
            self._pack()

    def table(self) -> pa.Table:
        """All of them; a column whose type differs from part to part becomes text."""
        self._pack()
        if not self._packed:
            return MANIFEST.empty_table()
        types: dict[str, set[pa.DataType]] = defaultdict(set)
        for table in self._packed:
            for field in table.schema:
                types[field.name].add(field.type)
        several = [name for name, of in types.items() if len(of) > 1]
        mixed = [name for name in several if not all(map(_is_number, types[name]))]
        try:
            table = _together([_as_text(table, mixed) for table in self._packed])
        except pa.ArrowInvalid:  # whole numbers that no float can hold, and fractions
            table = _together([_as_text(table, several) for table in self._packed])
        order = [name for name in MANIFEST.names if name in types]
        order += [name for name in table.column_names if name not in order]
        return table.select(order).replace_schema_metadata(MANIFEST.metadata)

    def _pack(self) -> None:
        if self._rows:
            self._packed.append(manifest_table(self._rows, self._out))
            self._rows = []


def _together(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _as_text(table: pa.Table, names: list[str]) -> pa.Table:
    for name in names:
        if name in table.column_names:
            at = table.column_names.index(name)
            table = table.set_column(at, name, _text([value.as_py() for value in table[name]]))
    return table


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


def _all_problems(video: DatasetVideo, ids: set[str]) -> Iterator[str]:
    """What a video says of itself, and what shows only among several."""
    yield from video.problems
    if video.video_id in ids:
        yield "there are two videos of this id ('/' becomes '__'); rename one"
    counts: dict[str, int] = defaultdict(int)
    for pair in video.pairs:
        counts[pair["expression_id"]] += 1
        for name, value in pair.items():
            texts = [name, *(value if isinstance(value, list) else [value])]
            if wrong := next((text for text in texts if isinstance(text, str) and not storage.is_text(text)), None):
                yield f"expression {pair['expression_id']}: {name!a} has {wrong!a}, which UTF-8 cannot hold; correct it"
    yield from (f"expression {name} is there {count} times" for name, count in counts.items() if count > 1)


def _rename_reserved(video: DatasetVideo) -> None:
    """Attributes with the name of a column of scores get an underscore: `rvos evaluate` could not show them."""
    for pair in video.pairs:
        for name in sorted(RESERVED & pair.keys() - set(MANIFEST.names)):
            pair[f"{name}_"] = pair.pop(name)
            video.warnings.append((RENAMED, f"{name} of {pair_name(pair)}"))


def _attribute(values: list) -> pa.Array:
    """A column in the type its values have in common, else as text."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return _text(values)


def _text(values: list) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _published(config: ImportConfig, splits: set[str | None]) -> Iterator[Published]:
    """What its authors say of the split that was read; of all, where it is not known which it is."""
    published = DATA_SETS[config.dataset].published
    split = (next(iter(splits)) if len(splits) == 1 else None) or config.split
    named = [counts for counts in published if split and f"/{counts.split}".endswith(f"/{split}")]
    like = [counts for counts in published if split and counts.split.startswith(split.partition("/")[0])]
    yield from named or like or published


def _summary(warnings: dict[str, tuple[int, str]]) -> Iterator[str]:
    for what, (count, first) in warnings.items():
        subject, _, advice = what.partition("; ")
        yield f"{subject}: {count} (first: {first}); {advice}"


def _left_over(out: str, written: dict[str, str | None]) -> list[str]:
    stale = [storage.join(out, f"{name}.parquet") for name, uri in written.items() if uri is None]
    return [
        f"{uri} is of an earlier import and not of this data set; remove it" for uri in stale if storage.exists(uri)
    ]
