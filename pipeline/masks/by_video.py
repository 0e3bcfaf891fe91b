"""Iterate over the masks of a run or of other Parquet predictions, one video at a time.

Memory: the manifest, and the compressed masks of one video. For Parquet that is neither a run nor a compacted set, also
the place of each pair, less than 1 KB each.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from pipeline.io.manifest import read_manifest, with_absolute_uris
from pipeline.masks.predictions import ParquetPredictions, open_predictions
from pipeline.masks.row_groups import frame_name, read_row_groups, require_masks
from pipeline.masks.table_order import require_column_order
from pipeline.masks.task_planning import locate, row_groups_by_video
from pipeline.runs.compact import by_pair, compacted_rows, complete_parts, sorted_rows
from pipeline.runs.run import Run
from pipeline.runs.run_json import is_run
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS, chosen_rows, failed_rows
from schemas.pair import PairKey

MANIFEST_ROWS = 4096  # converted to Python objects at once
CACHED_ROW_GROUPS = 2  # of unsorted predictions, kept for the next video
PAIR_IDS = pa.schema([("video_id", pa.string()), ("expression_id", pa.string())])
PAIR_ORDER = [("video_id", "ascending"), ("expression_id", "ascending")]  # to sort tables by


@dataclass(frozen=True, slots=True)
class PairMasks:
    """One pair with its masks."""

    row: dict  # of the manifest; without a manifest, only the ids
    frames: pa.Table  # the PREDICTIONS rows that have a frame, by index
    problem: str | None = None  # why the pair has no frames

    @classmethod
    def of(cls, row: dict, table: pa.Table) -> "PairMasks":
        """Check and sort the PREDICTIONS rows of one pair. If the status of one is an error, the pair has no frames.

        Raises InputError for a duplicate frame or frame name, and for a frame without a size or mask.
        """
        frames = chosen_rows(table.filter(pc.is_valid(table["frame_index"]))).sort_by("frame_index")
        failed = failed_rows(table)
        if failed.num_rows or not frames.num_rows:
            first = (failed if failed.num_rows else table).slice(0, 1).to_pylist()[0]
            return cls(row, frames.slice(0, 0), first["error"] or f"the pair failed ({first['status']})")
        require_masks(frames)
        pair = cls(row, frames)
        pair.require_one_mask_a_frame()
        return pair

    def require_one_mask_a_frame(self) -> None:
        """Raise InputError for a duplicate frame or frame name."""
        indices = self.frames["frame_index"].to_numpy()
        if len(repeated := indices[1:][indices[1:] == indices[:-1]]):
            raise InputError(self.message(f"duplicate frame_index {repeated[0]}; keep one mask for each frame"))
        named = self.frames.select(["frame_index", "frame_name"]).to_pylist()
        name, count = Counter(map(frame_name, named)).most_common(1)[0]
        if count > 1:
            raise InputError(self.message(f"{count} frames have this name; names must be unique", name))

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
        return f"{self.key}: {error}" if frame is None else f"{self.key}: frame {frame}: {error}"

    def file_name(self, name: str, frame: str) -> str:
        """Return `name`, of a file for that frame. Raises InputError if no file can have it."""
        try:
            return storage.safe_name(name)
        except InputError as error:
            raise InputError(self.message(error, frame)) from None

    def rows(self) -> list[dict]:
        """Return the rows of `frames`, with `frame_name` always set."""
        return [row | {"frame_name": frame_name(row)} for row in self.frames.to_pylist()]

    def mask(self, row: dict) -> np.ndarray:
        """Decode the mask of one of the rows, bool [H, W]. Raises InputError if it is corrupt."""
        try:
            return rle.decode(row["counts"], row["height"], row["width"])
        except rle.RleError as error:
            raise InputError(self.message(error, frame_name(row))) from None


@dataclass(frozen=True, slots=True)
class MaskSource:
    """A run, or predictions in Parquet. `manifest` is the one given, else the run's own, or None.

    `on_progress` is called with the videos that were read, and all, if there is a manifest.
    """

    uri: str
    manifest: pa.Table | None
    predictions: ParquetPredictions
    on_progress: Callable[[int, int], None] = lambda done, total: None

    @classmethod
    def open(cls, uri: str, manifest: str | None = None, *, allow_local: bool = False) -> "MaskSource":
        """Open the masks at `uri`. If `manifest` is given, its pairs are the ones to read.

        Raises InputError if `uri` is neither a finished run nor Parquet with masks, the manifest is not valid or has no
        pair in common with the masks, or these look as if their runs were counted along rows.
        """
        uri = storage.absolute(uri)
        pairs = None if manifest is None else read_manifest(manifest, allow_local=allow_local)
        if is_run(uri):
            run = Run.open(uri)
            run.require_finished()
            pairs = with_absolute_uris(run.manifest(), uri, allow_local=allow_local) if pairs is None else pairs
        predictions = open_predictions(uri)
        if not isinstance(predictions, ParquetPredictions):
            raise InputError(f"{uri} is a tree of PNGs; give a run, a Parquet file or a folder of Parquet files")
        require_column_order(uri, predictions.uris)
        source = cls(uri, pairs, predictions)
        if manifest is not None:
            source.require_common(manifest)
        return source

    def require_common(self, manifest: str) -> None:
        """Raise InputError if no pair of the manifest that was given has masks, not even failed ones."""
        assert self.manifest is not None
        wanted, other = set(PairKey.of_all(self.manifest)), None
        for _, pairs in self.predictions.row_groups():
            if not wanted.isdisjoint(pairs):
                return
            other = other or next(iter(pairs), None)
        theirs = f"in {self.uri}: {other}" if other else f"{self.uri} holds no masks"
        raise InputError(f"no pair of {manifest} is in the masks; in the manifest: {min(wanted)}; {theirs}")

    def require_manifest(self) -> pa.Table:
        """Return the manifest. Raises InputError if the source has none."""
        if self.manifest is None:
            raise InputError(f"{self.uri} does not say where its videos are; give its manifest with --manifest")
        return self.manifest

    def videos(self) -> Iterator[list[PairMasks]]:
        """Yield the pairs of each video, sorted by video and expression. Without a manifest, these are all pairs.

        Raises InputError for a duplicate frame or frame name, and for a frame without a mask.
        """
        rows = None
        if (manifest := self.manifest) is not None:
            order = pc.sort_indices(manifest, sort_keys=PAIR_ORDER)
            parts = (order.slice(start, MANIFEST_ROWS) for start in range(0, len(order), MANIFEST_ROWS))
            rows = itertools.chain.from_iterable(manifest.take(part).to_pylist() for part in parts)
        if is_run(self.uri):
            tables = by_pair(sorted_rows(Run.open(self.uri)))
        elif storage.is_folder(self.uri) and (parts := complete_parts(self.uri)) is not None:
            tables = by_pair(compacted_rows(self.uri, parts))
        else:
            tables = self._sorted_pairs()
        total = 0 if manifest is None else pc.count_distinct(manifest["video_id"]).as_py()
        for number, (_, pairs) in enumerate(itertools.groupby(pair_masks(rows, tables), lambda pair: pair.video_id)):
            if total:
                self.on_progress(number, total)
            yield list(pairs)

    def some(self, keys: Collection[PairKey]) -> Iterator[PairMasks]:
        """Yield the pairs of `keys` that have rows. Of all other pairs, read only the ids."""
        rows = {}
        if self.manifest is not None:
            videos = pa.array(sorted({video for video, _ in keys}), pa.string())
            of_videos = self.manifest.filter(pc.is_in(self.manifest["video_id"], videos)).to_pylist()
            rows = {PairKey.of(row): row for row in of_videos}
        for key, table in self._sorted_pairs(set(keys)):
            yield PairMasks.of(rows.get(key) or key._asdict(), table)

    def _sorted_pairs(self, only: set[PairKey] | None = None) -> Iterator[tuple[PairKey, pa.Table]]:
        """Yield the rows of each pair (or of each pair in `only`), in order. Read one video at a time."""
        located = locate(self.predictions)
        wanted = {key: groups for key, groups in located.items() if only is None or key in only}
        read = functools.lru_cache(CACHED_ROW_GROUPS)(lambda row_group: read_row_groups([row_group]))
        for video, row_groups in sorted(row_groups_by_video(wanted).items()):
            of_video = pc.field("video_id") == video
            table = pa.concat_tables([read(row_group).filter(of_video) for row_group in row_groups])
            for key, rows in sorted_pairs(table):
                if only is None or key in only:
                    yield key, rows


def sorted_pairs(table: pa.Table) -> Iterator[tuple[PairKey, pa.Table]]:
    """Split a table of PREDICTIONS into its pairs, in order, each sorted by frame."""
    table = table.sort_by([*PAIR_ORDER, ("frame_index", "ascending")])
    start = 0
    for key, same in itertools.groupby(PairKey.of_all(table)):
        stop = start + len(list(same))
        yield key, table.slice(start, stop - start)
        start = stop


def pair_masks(rows: Iterable[dict] | None, pairs: Iterator[tuple[PairKey, pa.Table]]) -> Iterator[PairMasks]:
    """Join manifest rows with their masks, both sorted by pair. Without a manifest, yield all pairs.

    Raises InputError as `PairMasks.of`.
    """
    if rows is None:
        for key, table in pairs:
            yield PairMasks.of(key._asdict(), table)
        return
    end: tuple[PairKey | None, pa.Table] = (None, PREDICTIONS.empty_table())
    key, table = next(pairs, end)
    for row in rows:
        wanted = PairKey.of(row)
        while key is not None and key < wanted:
            key, table = next(pairs, end)
        if key == wanted:
            yield PairMasks.of(row, table)
        else:
            yield PairMasks(row, PREDICTIONS.empty_table(), "the predictions do not contain this pair")
