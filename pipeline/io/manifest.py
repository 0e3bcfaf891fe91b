"""Read a manifest: errors that stop the command before work starts, and problems that cost one row each."""

import contextlib
import hashlib
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from model.segmenter import CheckpointInfo, Segmenter
from pipeline.io import storage
from pipeline.io.table_files import read_files, table_files
from schemas.check import Problem, SchemaError, conform
from schemas.errors import InputError, StorageError
from schemas.manifest import MANIFEST
from schemas.pair import PAIR_COLUMNS, PairKey, short_id
from schemas.plain import UNREADABLE, readable_table
from schemas.uri import FOREIGN, without_keys

_INDEX_OF_PANDAS = re.compile(r"__index_level_\d+__")
MAX_FRAMES = 2**24  # of a video: 77 hours at 60 frames per second
MAX_EXPRESSION_BYTES = 16_384  # far above 512 tokens of any text; a longer text is not even tokenised

MAX_ID_BYTES = 4096
NOT_TEXT = "has characters that are not UTF-8, or that were lost before; correct it"


def read_manifest(uri: str, *, allow_local: bool = False) -> pa.Table:
    """Read and check a manifest: absolute video URIs, columns and types of MANIFEST first, attributes after them.

    `uri` is a Parquet file or a folder of such files. Relative video URIs start at the folder that holds `uri`. Local
    paths in a remote manifest become problems of their rows unless `allow_local`. Raises
    InputError, naming file and row, for a missing file, a file that is not Parquet, missing or mistyped columns, null
    ids, duplicate pairs, and video_ids with two URIs. `row_problems` finds the problems of single rows.
    """
    table = load_manifest(uri, allow_local=allow_local)
    problems = table_problems(table, uri)
    if problems:
        raise SchemaError(problems)
    return table


def load_manifest(uri: str, *, allow_local: bool = False) -> pa.Table:
    """Read a manifest as `read_manifest`, without the checks across rows: `rvos check` lists those itself."""
    uri = storage.absolute(uri)
    with _report_unreadable(uri):
        table = readable_table(read_files(uri))
        index = [name for name in table.column_names if _INDEX_OF_PANDAS.fullmatch(name)]
        table = conform(table.drop_columns(index), MANIFEST, uri)
    if table.num_rows == 0:
        raise InputError(f"manifest {uri} has no rows")
    return with_absolute_uris(table, storage.parent(uri), allow_local=allow_local)


def with_absolute_uris(table: pa.Table, folder: str, *, allow_local: bool = False) -> pa.Table:
    """Return rows that are stored in `folder` with absolute URIs; local ones of a remote folder are problems."""
    # Each distinct URI is made absolute once; the column stays plain strings.
    chunks, may_be_local = [], allow_local or not storage.is_remote(folder)
    for chunk in table["video_uri"].chunks:  # one by one: all together may have more than 2 GiB
        encoded = chunk.dictionary_encode()
        uris = [_absolute(uri, folder, may_be_local) for uri in encoded.dictionary.to_pylist()]
        chunks.append(pa.array(uris, pa.string()).take(encoded.indices))
    column = pa.chunked_array(chunks, pa.string())
    return table.set_column(table.column_names.index("video_uri"), "video_uri", column)


def _absolute(uri: str, folder: str, allow_local: bool) -> str:
    """Return `uri` as `storage.absolute`. What may not be opened keeps a form that `row_problems` refuses."""
    try:
        place = storage.absolute(uri, folder) if uri.strip() else uri
    except InputError:
        return without_keys(uri)
    if allow_local or not place.strip() or not storage.is_local(place):
        return place
    member, chain, path = place.rpartition("::")
    return f"{member}{chain}{FOREIGN}://{path}"


def as_named(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return absolute URIs without the mark of those that may not be opened, for a manifest to be written."""
    return pc.replace_substring(uris, f"{FOREIGN}://", "")


def manifest_digest(uri: str) -> str:
    """Return a value that changes with the content of a manifest, and with the folder of its relative URIs.

    Raises InputError if it cannot be read.
    """
    uri = storage.absolute(uri)
    digests = []
    with _report_unreadable(uri):
        for part in table_files(uri):
            with storage.open_input(part) as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())  # pyright: ignore[reportArgumentType]
    digest = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return f"{digest} {storage.parent(uri)}"


@contextlib.contextmanager
def _report_unreadable(uri: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"no manifest at {uri}; create one with 'rvos import', or correct the path") from None
    except StorageError:
        raise
    except OSError as error:
        raise InputError(f"cannot read manifest {uri}: {error}") from None


def table_problems(table: pa.Table, source: str) -> list[Problem]:
    """Find problems across rows: duplicate pairs, and videos with two URIs. Lists at most 1000 of each."""
    numbers = pa.array(range(table.num_rows))
    rows = table.select(PAIR_COLUMNS).append_column("row", numbers)
    counts = rows.group_by(PAIR_COLUMNS).aggregate([("row", "count"), ("row", "max")])
    duplicates = counts.filter(pc.greater(counts["row_count"], 1)).sort_by("row_max").slice(0, 1000)
    problems = [
        Problem(
            source,
            row["row_max"],
            f"{PairKey.of(row)} occurs {row['row_count']} times; an expression_id must be unique within its video",
        )
        for row in duplicates.to_pylist()
    ]
    rows = table.select(["video_id", "video_uri"]).append_column("row", numbers)
    firsts = rows.group_by(["video_id", "video_uri"]).aggregate([("row", "min")])
    videos = firsts.group_by("video_id").aggregate([("video_uri", "list"), ("row_min", "max")])
    several = videos.filter(pc.greater(pc.list_value_length(videos["video_uri_list"]), 1))
    for video in several.sort_by("row_min_max").slice(0, 1000).to_pylist():
        uris = sorted(video["video_uri_list"])
        text = (
            f"video_id={short_id(video['video_id'])} has {len(uris)} URIs ({', '.join(uris[:3])}); use one id per video"
        )
        problems.append(Problem(source, video["row_min_max"], text))
    return problems


def length_problem(expression: str, model: Segmenter | CheckpointInfo) -> str | None:
    """Return the problem of an expression that is too long for `model`, or None."""
    count, limit = model.count_tokens(expression), model.max_tokens
    return f"the expression has {count} tokens, at most {limit} fit; shorten it" if count > limit else None


def uri_problem(uri: str) -> str | None:
    """Return why `uri`, of a manifest as `load_manifest` reads it, may not be opened; None if it may."""
    if not uri.strip():
        return "video_uri is empty"
    if UNREADABLE in uri:
        return f"video_uri {NOT_TEXT}"
    try:
        storage.absolute(uri)
    except InputError as error:
        return f"video_uri: {error}"
    return None


def _text_problems(row: dict) -> Iterator[str]:
    for column in (*PAIR_COLUMNS, "expression"):
        if UNREADABLE in (row[column] or ""):
            yield f"{column} {NOT_TEXT}"
    for column in PAIR_COLUMNS:
        if len(row[column].encode()) > MAX_ID_BYTES:
            yield f"{column} has more than {MAX_ID_BYTES} bytes; shorten it"
    if problem := uri_problem(row["video_uri"]):
        yield problem


def row_problems(row: dict) -> Iterator[str]:
    """Yield the problems of one manifest row. A row with problems becomes a `bad_row` error row of the run."""
    if not (row["expression"] or "").strip():
        yield "the expression is empty; write a sentence"
    elif len(row["expression"].encode()) > MAX_EXPRESSION_BYTES:
        yield f"the expression has more than {MAX_EXPRESSION_BYTES} bytes; shorten it"
    yield from _text_problems(row)
    names, indices, targets = row.get("frames"), row.get("frame_indices"), row.get("target_frames")
    if names is not None and indices is not None:
        yield "frames and frame_indices are both set; keep one of them"
    for column, chosen in (("frames", names), ("frame_indices", indices), ("target_frames", targets)):
        if chosen is not None and not chosen:
            yield f"{column} is an empty list; use null for all frames"
        elif chosen is not None and None in chosen:
            yield f"{column} contains a null"
        elif chosen is not None and len(set(chosen)) != len(chosen):
            yield f"{column} has a duplicate frame"
    if indices and any(index is not None and index < 0 for index in indices):
        yield "frame_indices has a negative index"
    if names and targets and (others := set(targets) - {None, *names}):
        yield f"target_frames has frames that are not in frames: {', '.join(sorted(others)[:5])}"
    if row.get("num_frames") is not None and not 0 < row["num_frames"] <= MAX_FRAMES:
        yield f"num_frames is {row['num_frames']}; it must be positive, at most {MAX_FRAMES}, or null"
