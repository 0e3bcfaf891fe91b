"""Predicted masks: a run, a Parquet file, a folder of Parquet files, or a tree of PNGs, read by row group."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from pipeline.io import storage
from pipeline.io.manifest import read_manifest, with_absolute_uris
from pipeline.io.parallel import bounded_map
from pipeline.io.table_files import require_finished
from pipeline.masks.pairs_to_score import MaskKey, RequestedPair
from pipeline.masks.png_trees import DEFAULT_READING, PngReading, PngTree
from pipeline.masks.row_groups import RowGroup, list_row_groups, read_row_groups
from pipeline.masks.tree_masks import TreeMasks
from pipeline.runs.compact import DOCUMENT, STARTED, complete_parts
from pipeline.runs.run import Run
from pipeline.runs.run_json import is_run, read_run_json
from schemas.errors import InputError
from schemas.pair import PairKey

SCORED_COLUMNS = (
    *("video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts"),
    *("score", "query", "chosen", "status", "error"),
)
LOCATING_THREADS = 8


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
        for found in bounded_map(list_row_groups, self.uris, LOCATING_THREADS):
            yield from found

    def read_rows(
        self, row_groups: Iterable[RowGroup], pairs: Sequence[RequestedPair], *, all_labels: bool = False
    ) -> pa.Table:
        """Return the SCORED_COLUMNS of the videos of `pairs`."""
        del all_labels
        return read_row_groups(row_groups, {pair.video_id for pair in pairs}, SCORED_COLUMNS)


Predictions = ParquetPredictions | TreeMasks


def read_predictions(uri: str, reading: PngReading = DEFAULT_READING) -> Predictions:
    """Open the masks at `uri`, and read them if they are a tree of PNGs. Raises InputError as `open_predictions`."""
    found = open_predictions(uri)
    return TreeMasks.read(found, reading) if isinstance(found, PngTree) else found


def open_predictions(uri: str) -> ParquetPredictions | PngTree:
    """Find out the form of the masks at `uri`, a path or URI. Trees of PNGs are found, but not read.

    Raises InputError if it is none of the known ones, or a compacted set that lacks a part.
    """
    uri = storage.absolute(uri)
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"no predictions at {uri}; give a run, a Parquet file or folder, or a tree of PNGs")
        return ParquetPredictions((uri,))
    folder = storage.join(uri, "masks") if is_run(uri) else uri
    names = storage.names(folder) if storage.is_folder(folder) else []
    tables = [name for name in names if name.endswith(".parquet")]
    if {DOCUMENT, STARTED} & set(names) and (parts := complete_parts(folder)) is not None:
        return ParquetPredictions(tuple(storage.join(folder, part.name) for part in parts))
    if tables and not is_run(uri):
        require_finished(folder)
    if tables or is_run(uri):
        return ParquetPredictions(tuple(storage.join(folder, name) for name in tables))
    tree = PngTree.find(uri)
    if tree is None:
        forms = "<video>/<frame>.png or <video>/<expression>/<frame>.png"
        raise InputError(f"{uri} holds no predictions: no run.json, no Parquet file and no {forms}")
    return tree


def manifest_of(predictions: str, manifest: str | None, *, allow_local: bool = False) -> pa.Table | None:
    """Return the manifest at `manifest`, or else the run's own if `predictions` is a run."""
    if manifest is not None:
        return read_manifest(manifest, allow_local=allow_local)
    folder = storage.absolute(predictions)
    if not is_run(folder):
        return None
    return with_absolute_uris(Run.open(folder).manifest(), folder, allow_local=allow_local)


def frame_step(predictions: str) -> int:
    """Return N if `predictions` is a run that segmented every N-th frame (--frame-step), else 1."""
    folder = storage.absolute(predictions)
    return int(read_run_json(folder).get("config", {}).get("frame_step", 1)) if is_run(folder) else 1
