"""The predictions, one object at a time: a run, a Parquet file, a folder of them, or a tree of label maps."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from pipeline import storage
from pipeline.evaluation.pairs import Pair
from pipeline.runs.run import is_run
from schemas import rle
from schemas.check import Problem, SchemaError, conform
from schemas.errors import InputError
from schemas.masks import PREDICTIONS

COLUMNS = ("video_id", "expression_id", "frame_index", "frame_name", "height", "width", "counts", "status", "error")


@dataclass(frozen=True, slots=True)
class ParquetPredictions:
    """Tables of PREDICTIONS; each holds whole pairs."""

    uris: list[str]
    are_objects = False

    def tables(self, pairs: Iterable[Pair]) -> Iterator[tuple[str, pa.Table]]:
        """Each table with its name, read when its turn comes; COLUMNS as far as they are there."""
        for uri in self.uris:
            with storage.open_parquet(uri) as file:
                found = file.schema_arrow.names
                table = conform(file.read([name for name in COLUMNS if name in found]), PREDICTIONS, uri)
            yield uri, _require_masks(table, uri)


@dataclass(frozen=True, slots=True)
class LabelMaps:
    """A tree `<video>/<frame>.png`, the form of DAVIS results: palette images whose values are object ids."""

    folder: str
    videos: list[str]
    are_objects = True

    def tables(self, pairs: Iterable[Pair]) -> Iterator[tuple[str, pa.Table]]:
        """For each video, the masks of the pairs that are to be scored in it, as PREDICTIONS."""
        by_video: dict[str, list[Pair]] = {}
        for pair in pairs:
            by_video.setdefault(pair.video_id, []).append(pair)
        for video in sorted(by_video.keys() & set(self.videos)):
            folder = storage.join(self.folder, video)
            rows = [row for uri in _images(folder) for row in _label_rows(uri, by_video[video])]
            yield folder, pa.Table.from_pylist(rows, schema=PREDICTIONS)


def open_predictions(uri: str) -> ParquetPredictions | LabelMaps:
    """What lies at `uri`, a path or URI. Raises InputError if it is none of the known forms."""
    uri = storage.absolute(uri)
    if not storage.is_folder(uri):
        if not storage.exists(uri):
            raise InputError(f"no predictions at {uri}; give a run, a Parquet file or folder, or a tree of PNGs")
        return ParquetPredictions([uri])
    folder = storage.join(uri, "masks") if is_run(uri) else uri
    names = storage.names(folder) if storage.is_folder(folder) else []
    tables = [name for name in names if name.endswith(".parquet")]
    if tables or is_run(uri):
        return ParquetPredictions([storage.join(folder, name) for name in tables])
    videos = [name for name in names if storage.is_folder(storage.join(uri, name)) and _images(storage.join(uri, name))]
    if not videos:
        raise InputError(f"{uri} is no run (no run.json), holds no Parquet file and no <video>/<frame>.png")
    return LabelMaps(uri, videos)


def _require_masks(table: pa.Table, uri: str) -> pa.Table:
    """A row with a frame needs its size and mask; all null together is a pair that failed."""
    has_frame = pc.is_valid(table["frame_index"])
    for name in ("height", "width", "counts"):
        row = pc.index(pc.and_(has_frame, pc.is_null(table[name])), True).as_py()  # pyright: ignore[reportAttributeAccessIssue]
        if row >= 0:
            text = f"column '{name}' is null though the row has a frame; an empty mask is an all-background RLE"
            raise SchemaError([Problem(uri, row, text)])
    return table


def _images(folder: str) -> list[str]:
    return [storage.join(folder, name) for name in storage.names(folder) if name.lower().endswith(".png")]


def _label_rows(uri: str, pairs: Collection[Pair]) -> Iterator[dict]:
    """One row for each pair: the union of its objects in this label map."""
    labels = _read_labels(uri)
    strings: dict[tuple[str, ...], bytes] = {}  # expressions of one object share its mask
    for pair in pairs:
        if pair.truth not in strings:
            mask = np.isin(labels, _label_values(pair))
            strings[pair.truth] = rle.encode(mask[None])[0]
        yield {
            "video_id": pair.key[0],
            "expression_id": pair.key[1],
            "frame_index": -1,  # label maps tell names only
            "frame_name": uri.rpartition("/")[2][: -len(".png")],
            "height": labels.shape[0],
            "width": labels.shape[1],
            "counts": strings[pair.truth],
        }


def _label_values(pair: Pair) -> list[int]:
    try:
        return [int(thing) for thing in pair.truth]
    except ValueError:
        text = f"object_ids {list(pair.truth)} are no numbers, so they cannot be found in label maps"
        raise InputError(pair.message(text)) from None


def _read_labels(uri: str) -> np.ndarray:
    """Values of a palette or grey image, uint8 [H, W]."""
    with storage.open_input(uri) as file:
        try:
            image = Image.open(file, formats=["PNG"])
            if max(image.size) > rle.MAX_SIDE:
                raise InputError(f"{uri}: size {image.height}x{image.width} is above {rle.MAX_SIDE} pixels a side")
            if image.mode not in ("P", "L"):
                raise InputError(f"{uri}: a {image.mode} image; label maps are 8-bit palette or grey PNGs")
            return np.asarray(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise InputError(f"{uri} cannot be read: {error}") from None
