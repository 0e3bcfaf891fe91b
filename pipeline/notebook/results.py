"""Read the results of runs and evaluations as tables in memory."""

from collections.abc import Collection, Sequence
from os import PathLike

import numpy as np
import pandas as pd
import pyarrow as pa

from pipeline.evaluation.summary.score_folder import ScoreFolder
from pipeline.io.manifest import read_manifest
from pipeline.masks.predictions import ParquetPredictions, open_predictions
from pipeline.masks.row_groups import read_row_groups
from pipeline.notebook.arguments import described, path_of, texts_of
from pipeline.runs.run import Run
from pipeline.runs.run_json import is_run
from schemas import kinds, rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PAIR_COLUMNS, PairKey
from schemas.shown import shown

MASK_COLUMNS = ("height", "width", "counts")
PAIRS = kinds.Role("a run or a manifest", kinds.RUN.kinds | kinds.MANIFEST.kinds, kinds.MANIFEST.way)


def read_masks(
    run: str | PathLike[str],
    video_ids: str | Collection[str] | None = None,
    columns: Sequence[str] = tuple(PREDICTIONS.names),
) -> pa.Table:
    """Return the masks of a run, or of a Parquet file or folder of masks: one row per frame, with `columns`.

    video_ids: one or several; None for all. A failed pair has one row, with null frame columns and an error.

    Raises InputError if `run` holds no such masks, or no row of one of the videos, or a column is unknown; StorageError
    if the storage does not answer.
    """
    names = None if video_ids is None else texts_of(video_ids, "video_ids", "an id")
    if isinstance(columns, str) or not (columns := texts_of(columns, "columns", "a name")):
        raise InputError(f"columns must be a list of names, got {columns!r}")
    uri = path_of(run, "run", kinds.MASKS)
    found = open_predictions(uri)
    if not isinstance(found, ParquetPredictions):
        raise InputError(f"{uri} is a folder of pictures; read_masks reads runs and Parquet files")
    if unknown := [name for name in columns if name not in PREDICTIONS.names]:
        raise InputError(f"unknown column {unknown[0]!r}; choose from {', '.join(PREDICTIONS.names)}")
    wanted = None if names is None else set(names)
    groups, absent = [], set(wanted or ())
    for group, pairs in found.row_groups():
        videos = {key[0] for key in pairs}
        if wanted is None or wanted & videos:
            groups.append(group)
            absent -= videos
    if missing := [name for name in dict.fromkeys(names or ()) if name in absent]:
        more = f" and {len(missing) - 1} more of video_ids" if missing[1:] else ""
        raise InputError(
            f"{shown(uri)} has no rows of video_id={shown(missing[0])}{more}; read_pairs returns the ids of a run, "
            "'rvos status' says whether it is finished"
        )
    needed = dict.fromkeys([*columns, "video_id", "expression_id", "frame_index", "frame_name", *MASK_COLUMNS])
    return read_row_groups(groups, wanted, tuple(needed)).select(list(columns))


def read_pairs(run: str | PathLike[str]) -> pa.Table:
    """Return the pairs of a run, or of a manifest: one row for each, with its sentence and attributes.

    Raises InputError if `run` is neither a run nor a manifest.
    """
    uri = path_of(run, "run", PAIRS)
    return Run.open(uri).manifest() if is_run(uri) else read_manifest(uri)


def decode_masks(rows: pa.Table | pd.DataFrame) -> np.ndarray:
    """Return the masks of `rows`, bool [N, H, W]: columns height, width and counts, all of one size.

    Raises InputError, naming the row, for a row without a mask, of another size or with a broken one.
    """
    table = _table_of(rows)
    if absent := sorted({*MASK_COLUMNS} - {*table.column_names}):
        raise InputError(f"the rows have no column {', '.join(absent)}; read_masks returns it")
    found = table.to_pylist()
    if not found:
        raise InputError("there are no rows to decode")
    size = found[0]["height"], found[0]["width"]
    for name, kind in (("height", int), ("width", int), ("counts", bytes)):
        if wrong := next((row[name] for row in found if not isinstance(row[name], kind | None)), None):
            raise InputError(f"column {name} must hold {kind.__name__}, got {described(wrong)}; read_masks returns it")
    masks = None
    for number, row in enumerate(found):
        name = f"row {number}" + (f" ({PairKey.of(row)})" if {*PAIR_COLUMNS} <= {*row} else "")
        if row["counts"] is None or row["height"] is None or row["width"] is None:
            raise InputError(f"{name} has no mask: {row.get('error') or 'it has a null'}; leave it out")
        if (row["height"], row["width"]) != size:
            raise InputError(f"{name} is {row['height']}x{row['width']}, row 0 is {size[0]}x{size[1]}; decode by video")
        try:
            mask = rle.decode(row["counts"], *size)
        except rle.RleError as error:
            raise InputError(f"{name}: {error}") from None
        if masks is None:
            masks = np.empty((len(found), *size), bool)
        masks[number] = mask
    assert masks is not None
    return masks


def _table_of(rows: object) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    if not isinstance(rows, pd.DataFrame):
        raise InputError(
            f"rows must be a pyarrow.Table or a pandas.DataFrame, got {described(rows)}; read_masks returns one"
        )
    try:
        return pa.Table.from_pandas(rows, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"the rows cannot be read: {error}; read_masks returns such rows") from None


def read_scores(scores: str | PathLike[str]) -> pd.DataFrame:
    """Return the scores that `rvos evaluate --out` wrote: one row per pair, with attributes and a column per metric.

    Raises InputError if `scores` is no such folder.
    """
    return ScoreFolder.open(path_of(scores, "scores", kinds.SCORES)).pairs()
