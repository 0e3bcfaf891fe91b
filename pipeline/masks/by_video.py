"""What there is to export: every pair of a run or of other predictions, by video and expression, one video at a time.

Memory is the compressed masks of one video, beside the manifest.
"""

import functools
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from pipeline.io.manifest import read_manifest
from pipeline.masks.predictions import ParquetPredictions, RowGroup, open_predictions
from pipeline.runs.compact import Compacted, by_pair, compacted_rows, read_document, sorted_rows
from pipeline.runs.run import Run, is_run
from schemas import rle
from schemas.check import add_missing_columns, conform
from schemas.errors import InputError, pair_message
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey

ROWS_AT_ONCE = 4096  # of the manifest as Python objects
GROUPS_KEPT = 2  # row groups of unsorted predictions held for the next video
SCORES = ("score", "pair_score")
PAIR_IDS = pa.schema([("video_id", pa.string()), ("expression_id", pa.string())])


@dataclass(frozen=True, slots=True)
class PairMasks:
    """One pair with its masks.

    `row` is its manifest row, of predictions without a manifest the ids alone. `frames` are its PREDICTIONS rows that
    have a frame, by index; where there are none, `problem` says why.
    """

    row: dict
    frames: pa.Table
    problem: str | None = None

    @property
    def video_id(self) -> str:
        return self.row["video_id"]

    @property
    def expression_id(self) -> str:
        return self.row["expression_id"]

    @property
    def key(self) -> PairKey:
        return PairKey.of(self.row)

    def message(self, error: object, frame: str | None = None) -> str:
        """An error text that names the pair, and the frame if it is about one."""
        return pair_message(self.video_id, self.expression_id, error if frame is None else f"frame {frame}: {error}")

    def file_name(self, name: str, frame: str) -> str:
        """`name`, of a file for that frame. Raises InputError if no file can have it."""
        try:
            return storage.safe_name(name)
        except InputError as error:
            raise InputError(self.message(error, frame)) from None

    def rows(self) -> list[dict]:
        """The rows of `frames`, `frame_name` always set; a score that is no number, which JSON cannot hold, is None."""
        return [
            row | {"frame_name": frame_name(row)} | {name: _finite(row[name]) for name in SCORES}
            for row in self.frames.to_pylist()
        ]

    def mask(self, row: dict) -> np.ndarray:
        """The mask of one of the rows, bool [H, W]. Raises InputError if it is broken."""
        try:
            return rle.decode(row["counts"], row["height"], row["width"])
        except rle.RleError as error:
            raise InputError(self.message(error, frame_name(row))) from None


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None


def frame_name(row: dict) -> str:
    """The name of a frame; for rows without one, five digits of the index."""
    return row["frame_name"] if row["frame_name"] is not None else f"{row['frame_index']:05d}"


def names_by_index(frames: pa.Table) -> dict[int, str]:
    """frame_index -> name of the frames in a table of PREDICTIONS."""
    return {row["frame_index"]: frame_name(row) for row in frames.select(["frame_index", "frame_name"]).to_pylist()}


@dataclass(frozen=True, slots=True)
class MaskSource:
    """A run, or predictions in Parquet. `manifest` is the run's own, the one given, or None."""

    uri: str
    manifest: pa.Table | None

    @classmethod
    def open(cls, uri: str, manifest: str | None = None) -> "MaskSource":
        """What lies at `uri`. A manifest given by its URI chooses among the pairs, and asks for all of its own.

        Raises InputError if it is no finished run and holds no Parquet of masks, or the manifest is refused.
        """
        uri = storage.absolute(uri)
        given = None if manifest is None else read_manifest(manifest)
        if is_run(uri):
            run = Run.open(uri)
            missing = {unit.unit_id for unit in run.units()} - run.committed()
            if missing:
                raise InputError(f"{uri} is not finished: {len(missing)} units are missing; segment it first")
            return cls(uri, run.manifest() if given is None else given)
        if _compacted(uri) is None and not isinstance(open_predictions(uri), ParquetPredictions):
            raise InputError(f"{uri} is a tree of PNGs; export takes a run or a folder of Parquet")
        return cls(uri, given)

    def require_manifest(self) -> pa.Table:
        """The manifest; raises InputError if there is none."""
        if self.manifest is None:
            raise InputError(f"{self.uri} does not say where its videos are; give its manifest with --manifest")
        return self.manifest

    def videos(self) -> Iterator[list[PairMasks]]:
        """The pairs of each video, by expression; the videos by id. Every pair of the manifest is there once.

        Raises InputError for a frame or a frame name that is there twice, and for a frame without a mask.
        """
        return by_video(self._pairs())

    def some(self, keys: Collection[PairKey]) -> Iterator[PairMasks]:
        """Those of a few pairs that have rows; of the others only the ids are read."""
        rows = {}
        if self.manifest is not None:
            videos = pa.array(sorted({video for video, _ in keys}), pa.string())
            of_videos = self.manifest.filter(pc.is_in(self.manifest["video_id"], videos)).to_pylist()
            rows = {PairKey.of(row): row for row in of_videos}
        for key, table in _sorted(self.uri, set(keys)):
            yield _labelled(rows.get(key) or dict(zip(PAIR_IDS.names, key, strict=True)), table)

    def _pairs(self) -> Iterator[PairMasks]:
        return pair_masks(None if self.manifest is None else _in_order(self.manifest), self._tables())

    def _tables(self) -> Iterator[tuple[PairKey, pa.Table]]:
        """All rows by pair, the pairs in order."""
        if is_run(self.uri):
            return by_pair(sorted_rows(Run.open(self.uri)))
        document = _compacted(self.uri)
        if document is not None:
            return by_pair(compacted_rows(self.uri, document.parts))
        return _sorted(self.uri)


def _compacted(uri: str) -> Compacted | None:
    """What says that `uri` is the work of `rvos compact`."""
    return read_document(uri) if storage.is_folder(uri) else None


def _sorted(uri: str, only: set[PairKey] | None = None) -> Iterator[tuple[PairKey, pa.Table]]:
    """The pairs of any Parquet of masks in order, or `only` some of them.

    Row groups are read for the videos they hold, a few are kept.
    """
    places: dict[str, list[RowGroup]] = defaultdict(list)
    for piece, keys in pieces(uri):
        for video in {key[0] for key in keys if only is None or key in only}:
            places[video].append(piece)

    @functools.lru_cache(GROUPS_KEPT)
    def read(piece: RowGroup) -> pa.Table:
        return read_row_groups([piece])

    for video in sorted(places):
        for key, rows in pairs_of([read(piece) for piece in places[video]], [video]):
            if only is None or key in only:
                yield key, rows


def pieces(uri: str) -> Iterator[tuple[RowGroup, list[PairKey]]]:
    """Where the pairs of a run or of other Parquet of masks lie. Of the tables only ids are read."""
    predictions = open_predictions(uri)
    assert isinstance(predictions, ParquetPredictions)
    return predictions.pieces()


def read_row_groups(pieces: Iterable[RowGroup]) -> pa.Table:
    """PREDICTIONS. Raises InputError if a table is broken."""
    groups: dict[str, list[int]] = defaultdict(list)
    for piece in pieces:
        groups[piece.place].append(piece.group)
    tables = []
    for place, numbers in groups.items():
        with storage.open_parquet(place) as file:
            names = [name for name in PREDICTIONS.names if name in file.schema_arrow.names]
            table = conform(file.read_row_groups(sorted(numbers), names), PREDICTIONS, place)
            tables.append(add_missing_columns(table, PREDICTIONS))
    return pa.concat_tables(tables)


def pairs_of(tables: Sequence[pa.Table], videos: Sequence[str]) -> Iterator[tuple[PairKey, pa.Table]]:
    """The pairs of some videos in order, from tables that hold others as well."""
    wanted = pa.array(videos, pa.string())
    table = pa.concat_tables([table.filter(pc.is_in(table["video_id"], wanted)) for table in tables])
    table = table.sort_by([(name, "ascending") for name in ("video_id", "expression_id", "frame_index")])
    keys = PairKey.of_all(table)
    start = 0
    for key, same in itertools.groupby(keys):
        stop = start + len(list(same))
        yield key, table.slice(start, stop - start)
        start = stop


def pair_masks(rows: Iterable[dict] | None, found: Iterator[tuple[PairKey, pa.Table]]) -> Iterator[PairMasks]:
    """Manifest rows with their masks, both in the order of their keys; without a manifest, all that is found.

    Raises InputError for a frame or a frame name that is there twice, and for a frame without a mask.
    """
    if rows is None:
        for key, table in found:
            yield _labelled(dict(zip(PAIR_IDS.names, key, strict=True)), table)
        return
    nothing: tuple[PairKey | None, pa.Table] = (None, PREDICTIONS.empty_table())
    key, table = next(found, nothing)
    for row in rows:
        wanted = PairKey.of(row)
        while key is not None and key < wanted:
            key, table = next(found, nothing)
        if key == wanted:
            yield _labelled(row, table)
        else:
            yield PairMasks(row, PREDICTIONS.empty_table(), "there are no predictions of this pair")


def by_video(pairs: Iterable[PairMasks]) -> Iterator[list[PairMasks]]:
    """Neighbours of the same video together."""
    for _, of in itertools.groupby(pairs, lambda pair: pair.video_id):
        yield list(of)


def _labelled(row: dict, table: pa.Table) -> PairMasks:
    frames = table.filter(pc.is_valid(table["frame_index"])).sort_by("frame_index")
    if not frames.num_rows:
        first = table.slice(0, 1).to_pylist()[0]
        return PairMasks(row, frames, first["error"] or f"the pair failed ({first['status']})")
    pair = PairMasks(row, frames)
    indices = frames["frame_index"].to_numpy()
    if len(twice := np.flatnonzero(indices[1:] == indices[:-1])):
        raise InputError(pair.message(f"frame_index {indices[twice[0]]} is there twice; keep one mask for each frame"))
    name, times = Counter(names_by_index(frames).values()).most_common(1)[0]
    if times > 1:
        raise InputError(pair.message(f"{times} frames have this name; give each its own", name))
    for name in ("height", "width", "counts"):
        if frames[name].null_count:
            raise InputError(pair.message(f"column '{name}' is null in a row that has a frame"))
    return pair


def _in_order(manifest: pa.Table) -> Iterable[dict]:
    order = pc.sort_indices(manifest, sort_keys=[("video_id", "ascending"), ("expression_id", "ascending")])
    for start in range(0, len(order), ROWS_AT_ONCE):
        yield from manifest.take(order.slice(start, ROWS_AT_ONCE)).to_pylist()
