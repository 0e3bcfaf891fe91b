"""Read predicted masks from Parquet by row group."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import parquet, storage
from pipeline.io.plain_parquet import PlainParquetFile
from schemas.check import Problem, SchemaError, add_missing_columns, column_problems, conform, required
from schemas.errors import InputError, ReplacedError
from schemas.masks import PREDICTIONS
from schemas.pair import PAIR_COLUMNS, PairKey

LEAST_SCORES = {"score": 0, "pair_score": 0, "margin": -1}  # column -> least value; the largest is 1
IDS = pa.schema([PREDICTIONS.field(name) for name in PAIR_COLUMNS], metadata=required(*PAIR_COLUMNS))


class RowGroup(NamedTuple):
    """The masks that are read at once: a row group of a Parquet file, or one video of a PNG tree.

    Of a tree, `uri` is the video_id, and `group` and `rows` are 0. `state` differs between the files that a retry puts
    in each other's place.
    """

    uri: str
    group: int
    rows: int = 0
    state: str = ""


def read_row_groups(
    row_groups: Iterable[RowGroup],
    videos: Collection[str] | None = None,
    columns: Sequence[str] = tuple(PREDICTIONS.names),
    *,
    require_rows: bool = True,
) -> pa.Table:
    """Return the rows of some or all videos in Parquet row groups: `columns` of PREDICTIONS, null where absent.

    Raises InputError if a table is not valid, or (with `require_rows`) a row of these videos has a frame but no size or
    mask, or a score out of its range; ReplacedError if a file is not the one whose row groups were listed.
    """
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row_group in row_groups:
        groups[row_group.uri, row_group.state].append(row_group.group)
    schema = pa.schema([PREDICTIONS.field(name) for name in columns], metadata=PREDICTIONS.metadata)
    tables = [schema.empty_table()]
    for (uri, state), numbers in groups.items():
        with parquet.open_file(uri) as file:
            if _state(file) != state:
                raise ReplacedError(f"{uri} was replaced by a retry since the command began; repeat the command")
            stored = [name for name in columns if name in file.schema_arrow.names]
            table = conform(file.read_row_groups(sorted(numbers), stored), schema, uri)
        if videos is not None:
            table = table.filter(pc.is_in(table["video_id"], pa.array(sorted(videos), pa.string())))
        table = add_missing_columns(table, schema)
        if require_rows:
            require_masks(table, uri)
            require_scores(table, uri)
        tables.append(table)
    return pa.concat_tables(tables)


def require_masks(table: pa.Table, uri: str | None = None) -> None:
    """Raise InputError, which names the pair and the frame, if a row of PREDICTIONS has a frame but no size or mask."""
    has_frame = pc.is_valid(table["frame_index"])
    for name in ("height", "width", "counts"):
        broken = table.filter(pc.and_(has_frame, pc.is_null(table[name])))
        for row in broken.slice(0, 1).to_pylist():
            text = f"column '{name}' is null; store an empty mask as an all-background RLE of the size of the frame"
            where = "" if uri is None else f"{uri}: "
            raise InputError(f"{where}{PairKey.of(row)}: frame {frame_name(row)}: {text}")


def require_scores(table: pa.Table, uri: str | None = None) -> None:
    """Raise InputError, which names the pair and the frame, for a score in PREDICTIONS that is NaN or out of range."""
    for name, least in LEAST_SCORES.items():
        if name not in table.column_names:
            continue
        values = table[name]
        inside = pc.and_(pc.greater_equal(values, least), pc.less_equal(values, 1))  # both false for NaN
        for row in table.filter(pc.invert(pc.fill_null(inside, True))).slice(0, 1).to_pylist():
            frame = "" if row.get("frame_index") is None else f" frame {row['frame_index']}"
            where = "" if uri is None else f"{uri}: "
            raise InputError(f"{where}{PairKey.of(row)}{frame}: {score_problem(name, row[name])}")


def score_problem(name: str, value: float) -> str:
    """Describe a score out of its range."""
    return f"{name} is {value:g}, not {LEAST_SCORES[name]} to 1; scale the scores, or write null for those unknown"


def frame_name(row: dict) -> str:
    """Return the name of a frame, or five digits of its index if it has none."""
    return row["frame_name"] if row["frame_name"] is not None else f"{row['frame_index']:05d}"


def _state(file: PlainParquetFile) -> str:
    """Return a hash of what a file says about itself; that of a unit has its receipt, with the number of retries."""
    about = file.metadata.metadata or {}
    return hashlib.blake2b(repr((file.metadata.num_rows, sorted(about.items()))).encode(), digest_size=8).hexdigest()


def list_row_groups(uri: str) -> list[tuple[RowGroup, list[PairKey]]]:
    """List the row groups of one Parquet file with the pairs that have rows in each."""
    return storage.read_again(lambda: _list_row_groups(uri))


def _list_row_groups(uri: str) -> list[tuple[RowGroup, list[PairKey]]]:
    found = []
    with parquet.open_file(uri) as file:
        parquet.verify(uri)
        problems = column_problems(file.schema_arrow, PREDICTIONS, uri)
        if problems:
            raise SchemaError(problems)
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, ["video_id", "expression_id"])
            for name in ids.column_names:
                if ids[name].null_count:
                    raise SchemaError([Problem(uri, None, f"column '{name}' has nulls; every row needs its ids")])
            ids = conform(ids, IDS, uri)  # whole numbers are ids too
            rows = ids.group_by(ids.column_names, use_threads=False).aggregate([]).to_pylist()
            found.append((RowGroup(uri, group, len(ids), _state(file)), [PairKey.of(row) for row in rows]))
    return found
