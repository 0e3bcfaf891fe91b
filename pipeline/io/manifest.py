"""Read a manifest: what is refused before work starts, and what costs only its row (design: table rules)."""

import contextlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import storage
from schemas.check import Problem, SchemaError, conform
from schemas.errors import InputError, StorageError
from schemas.manifest import MANIFEST

MAX_EXPRESSION_BYTES = 16_384  # far above 512 tokens of any text; longer ones are not even tokenised


def read_manifest(uri: str) -> pa.Table:
    """The manifest at `uri` with absolute video URIs, columns and types of MANIFEST first, attributes after.

    Raises InputError, naming file and row, for what is refused before work starts: no such file, not Parquet, missing
    or mistyped columns, null ids, a pair twice, one video_id with two URIs. Problems of single rows are `row_problems`.
    """
    table = load_manifest(uri)
    problems = table_problems(table, uri)
    if problems:
        raise SchemaError(problems)
    return table


def load_manifest(uri: str) -> pa.Table:
    """Like `read_manifest` without the checks across rows, for `rvos check`, which lists those itself."""
    uri = storage.absolute(uri)
    with _readable(uri):
        table = conform(storage.read_table(uri), MANIFEST, uri)
    if table.num_rows == 0:
        raise InputError(f"manifest {uri} has no rows")
    return _with_absolute_uris(table, storage.parent(uri))


def manifest_digest(uri: str) -> str:
    """What tells that a manifest is the same as before: its content, and where its relative paths count from.

    Raises InputError if it cannot be read.
    """
    uri = storage.absolute(uri)
    with _readable(uri):
        return f"{storage.digest(uri)} {storage.parent(uri)}"


@contextlib.contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"no manifest at {uri}; make one with 'rvos import', or give its path") from None
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"manifest {uri} cannot be read: {error}") from None


def table_problems(table: pa.Table, source: str) -> list[Problem]:
    """What is wrong across rows: pairs that are there twice, videos with two URIs."""
    return [*_duplicate_pairs(table, source), *_ambiguous_uris(table, source)]


def row_problems(row: dict) -> Iterator[str]:
    """What is wrong with one manifest row by itself, in words; such a row becomes a `bad_row` error row."""
    if not (row["expression"] or "").strip():
        yield "the expression is empty; give it a sentence"
    elif len(row["expression"].encode()) > MAX_EXPRESSION_BYTES:
        yield f"the expression has more than {MAX_EXPRESSION_BYTES} bytes; shorten it"
    if not row["video_uri"].strip():
        yield "video_uri is empty"
    names, indices, targets = row.get("frames"), row.get("frame_indices"), row.get("target_frames")
    if names is not None and indices is not None:
        yield "both frames and frame_indices are set; keep one of them"
    for column, chosen in (("frames", names), ("frame_indices", indices), ("target_frames", targets)):
        if chosen is not None and not chosen:
            yield f"{column} is an empty list; use null for all frames"
        elif chosen is not None and None in chosen:
            yield f"{column} holds a null"
        elif chosen is not None and len(set(chosen)) != len(chosen):
            yield f"{column} names a frame twice"
    if indices and any(index is not None and index < 0 for index in indices):
        yield "frame_indices holds a negative index"
    if names and targets and not set(targets) <= set(names):
        yield f"target_frames not among frames: {', '.join(sorted(set(targets) - set(names))[:5])}"
    if row.get("num_frames") is not None and row["num_frames"] <= 0:
        yield f"num_frames is {row['num_frames']}; it must be positive, or null"


def _with_absolute_uris(table: pa.Table, folder: str) -> pa.Table:
    """Each distinct URI made absolute once; the column stays plain strings."""
    encoded = table["video_uri"].combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    uris = [storage.absolute(uri, folder) if uri.strip() else uri for uri in encoded.dictionary.to_pylist()]
    return table.set_column(
        table.column_names.index("video_uri"), "video_uri", pa.array(uris, pa.string()).take(encoded.indices)
    )


def _duplicate_pairs(table: pa.Table, source: str) -> list[Problem]:
    rows = table.select(["video_id", "expression_id"]).append_column("row", pa.array(range(table.num_rows)))
    groups = rows.group_by(["video_id", "expression_id"]).aggregate([("row", "count"), ("row", "max")])
    doubled = groups.filter(pc.greater(groups["row_count"], 1)).sort_by("row_max").slice(0, 1000)
    return [
        Problem(
            source,
            pair["row_max"],
            f"video_id={pair['video_id']} expression_id={pair['expression_id']} is there {pair['row_count']} times; "
            "an expression_id must be unique within its video",
        )
        for pair in doubled.to_pylist()
    ]


def _ambiguous_uris(table: pa.Table, source: str) -> list[Problem]:
    rows = table.select(["video_id", "video_uri"]).append_column("row", pa.array(range(table.num_rows)))
    pairs = rows.group_by(["video_id", "video_uri"]).aggregate([("row", "min")])
    groups = pairs.group_by("video_id").aggregate([("video_uri", "list"), ("row_min", "max")])
    several = groups.filter(pc.greater(pc.list_value_length(groups["video_uri_list"]), 1))
    return [
        Problem(
            source,
            video["row_min_max"],
            f"video_id={video['video_id']} has {len(video['video_uri_list'])} URIs "
            f"({', '.join(sorted(video['video_uri_list'])[:3])}); one id means one video",
        )
        for video in several.sort_by("row_min_max").slice(0, 1000).to_pylist()
    ]
