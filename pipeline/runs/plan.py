"""Divide a manifest into units: whole videos, or for very long videos some of their expressions.

One actor takes a unit, computes it and commits it as one object. Planning opens no video: lengths come from the listed
frames, else from `num_frames`, else from `PlanOptions.assume_frames`.
"""

import functools
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from schemas.manifest import MANIFEST
from schemas.pair import PAIR_COLUMNS, PairKey
from schemas.printable import counted

SMALLEST_TARGET, LARGEST_TARGET, UNITS_AIMED_AT = 64, 4096, 2000
ASSUMED_FRAMES = 100
VIDEO_TARGETS = 4  # a video of more targets than this is split by expressions
ROWS_HASHED = 65_536  # in one batch
LARGE_COLUMN = 2**30  # bytes
PLAN_COLUMNS = ("unit_id", "row_hash", "pair_frames")
SOURCE_UNIT = "source_unit"  # in the plan of a run that refines another one: the unit there
# The columns that decide the masks of a row. Attributes and num_frames may change without making them wrong.
HASHED_COLUMNS = ("video_id", "video_uri", "expression_id", "expression", "frames", "frame_indices", "target_frames")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """Options of planning. Only `frame_step` affects the masks."""

    frame_step: int = 1
    unit_frames: int | None = None  # target of a unit in pair-frames; None: chosen by the size of the manifest
    assume_frames: int = ASSUMED_FRAMES  # length of a video that no row states
    whole_videos: bool = False  # keep the pairs of a video in one unit, since their masks depend on each other


def plan_part(manifest: pa.Table, fingerprint: str, options: PlanOptions) -> pa.Table:
    """Return the rows of `manifest` in the order of their units, longest unit first, with PLAN_COLUMNS in front.

    The order is computed from ids and lengths alone, so that the rows are copied once.
    """
    keys = manifest.select(PAIR_COLUMNS)
    by_key = pc.sort_indices(keys, [("video_id", "ascending"), ("expression_id", "ascending")]).to_numpy()
    keys = keys.take(by_key)
    lengths = pair_frames(manifest, options).to_numpy()[by_key]
    runs = pc.run_end_encode(keys["video_id"].combine_chunks())
    runs = runs.chunk(0) if isinstance(runs, pa.ChunkedArray) else runs
    videos = np.concatenate([[0], runs.run_ends.to_numpy()])[:-1]
    target = int(np.clip(lengths.sum() // UNITS_AIMED_AT, SMALLEST_TARGET, LARGEST_TARGET))
    ends = _unit_ends(videos, lengths, options.unit_frames or target, split=not options.whole_videos)
    starts = np.concatenate([[0], ends[:-1]])
    order = np.argsort(-np.add.reduceat(lengths, starts), kind="stable")
    bounds = np.stack([starts, ends], axis=1)[order].tolist()
    positions = np.concatenate([np.arange(start, end) for start, end in bounds])
    units = zip(starts.tolist(), ends.tolist(), strict=True)
    ids = [unit_id_of(PairKey.of_all(keys.slice(start, end - start)), fingerprint) for start, end in units]
    del keys
    rows = by_key[positions]
    part = {
        "unit_id": pa.array(np.repeat(np.array(ids, object)[order], (ends - starts)[order]), pa.string()),
        "row_hash": row_hashes(manifest).take(pa.array(rows)),
        "pair_frames": pa.array(lengths[positions], pa.int32()),
    }
    taken = take_rows(manifest, rows)
    return pa.table(part | {name: taken[name] for name in manifest.column_names})


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSize:
    """The amount of work in the rows of a plan."""

    pairs: int = 0
    videos: int = 0
    units: int = 0
    pair_frames: int = 0  # masks to make
    video_frames: int = 0  # frames to decode: once for the pairs of a video in one unit
    assumed_pairs: int = 0  # of videos with unknown length, which counts as `assume_frames`

    @classmethod
    def of(cls, part: pa.Table, mean_length: int | None = None) -> "PlanSize":
        """Return the size of a plan part, made by `plan_part`. `mean_length`, if given, replaces `assume_frames`."""
        columns = [name for name in ("frames", "frame_indices", "num_frames") if name in part.column_names]
        known = functools.reduce(pc.or_, [part[name].is_valid() for name in columns], pa.scalar(value=False))
        lengths = part["pair_frames"] if mean_length is None else pc.if_else(known, part["pair_frames"], mean_length)
        part = part.select(["unit_id", "video_id"]).append_column("pair_frames", lengths)
        videos = part.group_by(["unit_id", "video_id"]).aggregate([("pair_frames", "max")])
        return cls(
            pairs=part.num_rows,
            videos=pc.count_distinct(part["video_id"]).as_py(),
            units=pc.count_distinct(part["unit_id"]).as_py(),
            pair_frames=pc.sum(part["pair_frames"]).as_py(),
            video_frames=pc.sum(videos["pair_frames_max"]).as_py(),
            assumed_pairs=part.num_rows - pc.sum(known).as_py() if columns else part.num_rows,
        )


def pair_frames(manifest: pa.Table, options: PlanOptions) -> pa.ChunkedArray:
    """Return the expected number of frames of each pair, int32 [rows]."""
    counts = pa.chunked_array([pa.nulls(manifest.num_rows, pa.int32())])
    for column in ("frames", "frame_indices"):
        if column in manifest.column_names:
            counts = pc.coalesce(counts, pc.list_value_length(manifest[column]))
    whole = pa.scalar(options.assume_frames, pa.int32())
    if "num_frames" in manifest.column_names:
        whole = pc.coalesce(manifest["num_frames"], whole)
    stepped = pc.divide(pc.add(pc.cast(whole, pa.int64()), options.frame_step - 1), options.frame_step)
    counts = pc.coalesce(pc.cast(counts, pa.int64()), stepped)
    return pc.cast(pc.max_element_wise(counts, 1), pa.int32())


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Return `table.take(rows)`, also if a column has more than 2 GiB of text, which take would refuse."""
    return pa.table({name: _take(table[name], rows) for name in table.column_names}, table.schema)


def _take(column: pa.ChunkedArray, rows: np.ndarray) -> pa.ChunkedArray:
    if column.nbytes < LARGE_COLUMN:
        return column.take(pa.array(rows))
    large, pieces = column.cast(_large(column.type)), [rows]
    taken: list[pa.Array] = []
    while pieces:
        piece = pieces.pop()
        try:
            taken += large.take(pa.array(piece)).cast(column.type).chunks
        except pa.ArrowInvalid:  # the piece has more than 2 GiB too
            if len(piece) < 2:
                raise
            pieces += [piece[len(piece) // 2 :], piece[: len(piece) // 2]]
    return pa.chunked_array(taken, column.type)


def _large(kind: pa.DataType) -> pa.DataType:
    """Return the type with 64-bit offsets."""
    if pa.types.is_list(kind):
        return pa.large_list(_large(kind.value_type))
    return {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}.get(kind, kind)


def run_starts(ids: pa.Array) -> np.ndarray:
    """Return the position of the first of each run of equal ids, int64 [runs]."""
    return np.flatnonzero(np.append(True, pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)))


def row_hashes(manifest: pa.Table) -> pa.Array:
    """Return an 8-byte hash of HASHED_COLUMNS for each row, binary [rows]. An absent column counts as null."""
    hashes = bytearray()
    for start in range(0, manifest.num_rows, ROWS_HASHED):  # in batches: the texts are as large as the rows
        rows = manifest.slice(start, ROWS_HASHED)
        texts = pc.binary_join_element_wise(*(_as_text(rows, name) for name in HASHED_COLUMNS), "\x1f")
        for text in texts.to_pylist():
            hashes += hashlib.blake2b(text.encode(), digest_size=8).digest()
    offsets = np.arange(0, len(hashes) + 1, 8, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), manifest.num_rows, [None, pa.py_buffer(offsets), pa.py_buffer(bytes(hashes))]
    )


def without_query(uris: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return URIs without their query, in which presigned ones have their signature. Local paths stay as they are."""
    return pc.replace_substring_regex(uris, r"^(\w+://[^?]*)\?.*", r"\1")


def compare_with_plan(manifest: pa.Table, planned: pa.Table, source: str) -> pa.Table:
    """Return the rows of `manifest` that `planned` (video_id, expression_id, row_hash) does not hold yet.

    Raises InputError, which lists pairs, if a planned row was changed or removed.
    """
    rows = manifest.select(PAIR_COLUMNS).append_column("row_hash", row_hashes(manifest))
    rows = rows.append_column("row", pa.array(np.arange(manifest.num_rows)))
    joined = rows.join(
        planned.select([*PAIR_COLUMNS, "row_hash"]), PAIR_COLUMNS, right_suffix="_planned", join_type="full outer"
    )
    changed = joined.filter(pc.not_equal(joined["row_hash"], joined["row_hash_planned"]))
    removed = joined.filter(pc.is_null(joined["row"]))
    faults = []
    for what, pairs in (("changed", changed), ("removed", removed)):
        if pairs.num_rows:
            listed = ", ".join(str(PairKey.of(pair)) for pair in pairs.slice(0, 5).to_pylist())
            faults.append(
                f"{counted(pairs.num_rows, 'planned row')} {what} ({listed}{', ...' if pairs.num_rows > 5 else ''})"
            )
    if faults:
        raise InputError(
            f"{source} does not extend the plan of this run: {'; '.join(faults)}; restore these rows, choose "
            "another run folder, or use --rebase OLD=NEW if videos have moved"
        )
    new = joined.filter(pc.is_null(joined["row_hash_planned"]))["row"]
    return take_rows(manifest, np.sort(new.to_numpy()))


def limited_rows(new: pa.Table, count: int | None, planned: pa.Table | None, options: PlanOptions) -> pa.Table:
    """Return the first `count` of the rows to plan; with `whole_videos` all rows of their videos.

    `planned` holds the video_id of the rows that are planned already. Raises InputError if that splits a video.
    """
    rows = new.slice(0, count)
    if not options.whole_videos:
        return rows
    rows = new.filter(pc.is_in(new["video_id"], pc.unique(rows["video_id"]))) if rows.num_rows else rows
    known = rows if planned is None else rows.filter(pc.is_in(rows["video_id"], pc.unique(planned["video_id"])))
    if planned is not None and known.num_rows:
        pair = PairKey.of(known.slice(0, 1).to_pylist()[0])
        raise InputError(
            f"{pair} is new, but other expressions of its video are planned already, and masks of one annotator depend "
            "on each other; choose a new run folder"
        )
    return rows


def _as_text(manifest: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in manifest.column_names:
        return pa.chunked_array([pa.repeat("\x00", manifest.num_rows)])
    column = manifest[name]
    if name == "video_uri":
        column = without_query(column)
    if pa.types.is_list(MANIFEST.field(name).type):
        column = pc.cast(column, pa.list_(pa.string()))
        column = pc.if_else(pc.is_null(column), None, pc.binary_join(column, "\x1e"))
    return pc.fill_null(column, "\x00")


def _unit_ends(videos: np.ndarray, lengths: np.ndarray, target: int, *, split: bool) -> np.ndarray:
    """Return the row after each unit. Small videos are bundled up to `target`; `split` divides large ones by sentences.

    `videos` holds the first row of each video, `lengths` the pair-frames of each row.
    """
    bounds = np.append(videos, len(lengths))
    sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    limit = VIDEO_TARGETS * target
    ends: list[int] = []
    open_start = 0  # first row of the unit that is still being filled
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if start > open_start and sums[end] - sums[open_start] > target:
            ends.append(start)
            open_start = start
        if split and sums[end] - sums[start] > limit:
            while open_start < end:
                stop = int(np.searchsorted(sums, sums[open_start] + limit, side="right")) - 1
                open_start = min(max(stop, open_start + 1), end)
                ends.append(open_start)
    if open_start < len(lengths):
        ends.append(len(lengths))
    return np.array(ends)


def unit_id_of(pairs: Iterable[PairKey], fingerprint: str) -> str:
    """Return the id of the unit of these pairs in a run: anyone finds out whether the plan still has all of them."""
    text = "\x1e".join([fingerprint, *sorted("\x1f".join(pair) for pair in pairs)])
    return hashlib.sha256(text.encode()).hexdigest()[:20]
