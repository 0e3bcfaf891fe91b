"""Predicted masks: a run, a Parquet file, a folder of Parquet files, or a tree of PNGs, read by row group."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.io.parallel import bounded_map
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from pipeline.masks.png_trees import PngTree
from pipeline.runs.run import Run, is_run, read_run_json
from schemas.check import Problem, SchemaError, add_missing_columns, column_problems, conform
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

SCORED_COLUMNS = (
    *("video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts"),
    *("score", "query", "status", "error"),
)
LOCATING_THREADS = 8


class RowGroup(NamedTuple):
    """The masks that are read at once: a row group of a Parquet file, or one video of a PNG tree.

    Of a tree, `uri` is the video_id, and `group` and `rows` are 0.
    """

    uri: str
    group: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class ParquetPredictions:
    """Parquet files of PREDICTIONS."""

    uris: tuple[str, ...]
    are_objects = False

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(bounded_map(storage.size, self.uris, LOCATING_THREADS))

    def row_groups(self, requested: Collection[MaskKey] = ()) -> Iterator[tuple[RowGroup, list[PairKey]]]:
        """Yield each row group with the pairs that have rows in it. Only the id columns are read."""
        del requested
        for found in bounded_map(_row_groups, self.uris, LOCATING_THREADS):
            yield from found

    def read(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return the SCORED_COLUMNS of the videos of `pairs`."""
        del all_labels
        return read_row_groups(row_groups, {pair.video_id for pair in pairs}, SCORED_COLUMNS)


@dataclass(frozen=True, slots=True)
class TreePredictions:
    """A tree of PNGs. Its label maps show objects, so that any expression may refer to them."""

    tree: PngTree

    @property
    def are_objects(self) -> bool:
        return self.tree.are_objects

    @property
    def size(self) -> int:
        return 0  # unknown; such trees are small

    def row_groups(self, requested: Collection[MaskKey] = ()) -> Iterator[tuple[RowGroup, list[MaskKey]]]:
        """Yield each video with its pairs; of label maps, those of `requested`."""
        by_video: dict[str, list[MaskKey]] = defaultdict(list)
        for key in requested if self.are_objects else self.tree.keys():
            if key[0] in self.tree.videos:
                by_video[key[0]].append(key)
        for video in sorted(by_video):
            yield RowGroup(video, 0), by_video[video]

    def read(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return PREDICTIONS of `pairs`; of label maps with `all_labels`, of each label as if it were an expression."""
        tables = [PREDICTIONS.empty_table()]
        for video, *_ in row_groups:
            of_video = [pair for pair in pairs if pair.video_id == video and self.tree.has(pair.key)]
            tables.append(self.tree.predictions(video, of_video, all_labels))
        return pa.concat_tables(tables)


Predictions = ParquetPredictions | TreePredictions


def open_predictions(uri: str) -> Predictions:
    """Find out the form of the masks at `uri`, a path or URI. Raises InputError if it is none of the known ones."""
    uri = storage.absolute(uri)
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"no predictions at {uri}; give a run, a Parquet file or folder, or a tree of PNGs")
        return ParquetPredictions((uri,))
    folder = storage.join(uri, "masks") if is_run(uri) else uri
    names = storage.names(folder) if storage.is_folder(folder) else []
    tables = [name for name in names if name.endswith(".parquet")]
    if tables or is_run(uri):
        return ParquetPredictions(tuple(storage.join(folder, name) for name in tables))
    tree = PngTree.find(uri)
    if tree is None:
        forms = "<video>/<frame>.png or <video>/<expression>/<frame>.png"
        raise InputError(f"{uri} holds no predictions: no run.json, no Parquet file and no {forms}")
    return TreePredictions(tree)


def manifest_of(predictions: str, manifest: str | None) -> tuple[pa.Table | None, int]:
    """Return the manifest at `manifest`, or else the run's own if `predictions` is a run; and the run's frame step."""
    folder = storage.absolute(predictions)
    run = Run.open(folder) if is_run(folder) else None
    step = int(read_run_json(folder).get("config", {}).get("frame_step", 1)) if run else 1
    if manifest is not None:
        return read_manifest(manifest), step
    return (run.manifest() if run else None), step


def read_row_groups(
    row_groups: Iterable[RowGroup],
    videos: Collection[str] | None = None,
    columns: Sequence[str] = tuple(PREDICTIONS.names),
) -> pa.Table:
    """Return the rows of some or all videos in Parquet row groups: `columns` of PREDICTIONS, null where absent.

    Raises InputError if a table is not valid, or a row with a frame has no size or mask.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row_group in row_groups:
        groups[row_group.uri].append(row_group.group)
    schema = pa.schema([PREDICTIONS.field(name) for name in columns], metadata=PREDICTIONS.metadata)
    tables = [schema.empty_table()]
    for uri, numbers in groups.items():
        with storage.open_parquet(uri) as file:
            stored = [name for name in columns if name in file.schema_arrow.names]
            table = conform(file.read_row_groups(sorted(numbers), stored), schema, uri)
        has_frame = pc.is_valid(table["frame_index"])
        for name in ("height", "width", "counts"):
            row = pc.index(pc.and_(has_frame, pc.is_null(table[name])), True).as_py()  # pyright: ignore
            if row >= 0:
                text = f"column '{name}' is null but the row has a frame; store an empty mask as an all-background RLE"
                raise SchemaError([Problem(uri, row, text)])
        if videos is not None:
            table = table.filter(pc.is_in(table["video_id"], pa.array(sorted(videos), pa.string())))
        tables.append(add_missing_columns(table, schema))
    return pa.concat_tables(tables)


def _row_groups(uri: str) -> list[tuple[RowGroup, list[PairKey]]]:
    """List the row groups of one Parquet file with the pairs that have rows in each."""
    found = []
    with storage.open_parquet(uri) as file:
        problems = column_problems(file.schema_arrow, PREDICTIONS, uri)
        if problems:
            raise SchemaError(problems)
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["video_id", "expression_id"])
            for name in ids.column_names:
                if ids[name].null_count:
                    raise SchemaError([Problem(uri, None, f"column '{name}' has nulls; every row needs its ids")])
            rows = ids.group_by(ids.column_names, use_threads=False).aggregate([]).to_pylist()
            found.append((RowGroup(uri, group, len(ids)), [PairKey.of(row) for row in rows]))
    return found
