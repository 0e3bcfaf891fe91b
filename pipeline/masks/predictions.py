"""The predictions: a run, a Parquet file, a folder of them, or a tree of PNGs; read piece by piece."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.io.parallel import bounded_map
from pipeline.masks.png_trees import Tree
from pipeline.masks.requested import MaskKey, RequestedPair
from pipeline.runs.run import Run, is_run, read_run_json
from schemas.check import Problem, SchemaError, column_problems, conform
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

COLUMNS = (
    *("video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts"),
    *("score", "query", "status", "error"),
)
READERS = 8  # threads that look for the pairs of each table


class RowGroup(NamedTuple):
    """What is read at once: a row group of a table, with how many rows it has, or a video of a tree (`group` 0)."""

    place: str
    group: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class ParquetPredictions:
    """Tables of PREDICTIONS."""

    uris: tuple[str, ...]
    are_objects = False

    @property
    def size(self) -> int:
        """Bytes of all tables."""
        return sum(bounded_map(storage.size, self.uris, READERS))

    def pieces(self) -> Iterator[tuple[RowGroup, list[PairKey]]]:
        """All pieces with the pairs that have rows in each. Of the tables only ids are read."""
        for found in bounded_map(_row_groups, self.uris, READERS):
            yield from found

    def read(self, pieces: Sequence[RowGroup], pairs: Sequence[RequestedPair], *, proposals: bool = False) -> pa.Table:
        """Some pieces as one table, COLUMNS as far as they are there."""
        del pairs, proposals
        groups: dict[str, list[int]] = {}
        for piece in pieces:
            groups.setdefault(piece.place, []).append(piece.group)
        tables = []
        for uri, numbers in groups.items():
            with storage.open_parquet(uri) as file:
                there = [name for name in COLUMNS if name in file.schema_arrow.names]
                table = conform(file.read_row_groups(sorted(numbers), there), PREDICTIONS, uri)
            tables.append(_require_masks(table, uri))
        return pa.concat_tables(tables, promote_options="default")


@dataclass(frozen=True, slots=True)
class TreePredictions:
    """A tree of PNGs. Its label maps show objects, whatever expressions mean them."""

    tree: Tree

    @property
    def are_objects(self) -> bool:
        return self.tree.are_objects

    @property
    def size(self) -> int:
        return 0  # decoding dominates, and such trees are small

    def row_groups_of(self, keys: Sequence[MaskKey]) -> Iterator[tuple[RowGroup, list[MaskKey]]]:
        """All pieces that there are of some pairs."""
        by_video: dict[str, list[MaskKey]] = {}
        for key in keys:
            if self.tree.holds(key):
                by_video.setdefault(key[0], []).append(key)
        for video in sorted(by_video):
            yield RowGroup(video, 0), by_video[video]

    def extra(self, keys: Sequence[MaskKey]) -> list[MaskKey]:
        """The pairs of a tree by expression that are not among `keys`."""
        there = {(video, thing) for video, things in self.tree.videos.items() for thing in things}
        return sorted(there - set(keys))

    def read(self, pieces: Sequence[RowGroup], pairs: Sequence[RequestedPair], *, proposals: bool = False) -> pa.Table:
        """PREDICTIONS of `pairs` in some videos; of label maps with `proposals`: of every label, as expression."""
        tables = []
        for video, *_ in pieces:
            there = [pair for pair in pairs if pair.video_id == video and self.tree.holds(pair.key)]
            tables.append(self.tree.predictions(video, there, proposals))
        return pa.concat_tables(tables)


Predictions = ParquetPredictions | TreePredictions


def open_predictions(uri: str) -> Predictions:
    """What lies at `uri`, a path or URI. Raises InputError if it is none of the known forms."""
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
    tree = Tree.find(uri)
    if tree is None:
        forms = "<video>/<frame>.png or <video>/<expression>/<frame>.png"
        raise InputError(f"{uri} is no run (no run.json), holds no Parquet file and no {forms}")
    return TreePredictions(tree)


def manifest_of(predictions: str, manifest: str | None) -> tuple[pa.Table | None, int]:
    """The manifest that says what to score, if there is one, and the frame step of the run.

    It is the one at `manifest`, or where that is None and `predictions` are a run, the run's own.
    """
    folder = storage.absolute(predictions)
    run = Run.open(folder) if is_run(folder) else None
    step = int(read_run_json(folder).get("config", {}).get("frame_step", 1)) if run else 1
    if manifest is not None:
        return read_manifest(manifest), step
    return (run.manifest() if run else None), step


def _row_groups(uri: str) -> list[tuple[RowGroup, list[PairKey]]]:
    """The row groups of one table with the pairs that have rows in each."""
    found = []
    with storage.open_parquet(uri) as file:
        problems = column_problems(file.schema_arrow, PREDICTIONS, uri)
        if problems:
            raise SchemaError(problems)
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["video_id", "expression_id"])
            for name in ids.column_names:
                if ids[name].null_count:
                    raise SchemaError([Problem(uri, None, f"column '{name}' holds nulls; give each row its ids")])
            rows = ids.group_by(ids.column_names, use_threads=False).aggregate([]).to_pylist()
            found.append((RowGroup(uri, group, len(ids)), [PairKey.of(row) for row in rows]))
    return found


def _require_masks(table: pa.Table, uri: str) -> pa.Table:
    """A row with a frame needs its size and mask; all null together is a pair that failed."""
    has_frame = pc.is_valid(table["frame_index"])
    for name in ("height", "width", "counts"):
        row = pc.index(pc.and_(has_frame, pc.is_null(table[name])), True).as_py()  # pyright: ignore[reportAttributeAccessIssue]
        if row >= 0:
            text = f"column '{name}' is null though the row has a frame; an empty mask is an all-background RLE"
            raise SchemaError([Problem(uri, row, text)])
    return table
