"""Cut a manifest into units: the whole videos (or, for very long ones, some of their expressions) done in one go.

A unit is what one actor takes, computes and commits as one object. No video is opened here: lengths come from
the listed frames, else from `num_frames`, else from `PlanOptions.assume_frames`.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import InputError
from schemas.manifest import MANIFEST

SMALLEST_TARGET, LARGEST_TARGET, UNITS_AIMED_AT = 64, 4096, 2000
VIDEO_TARGETS = 4  # a video above so many targets is split by expressions
ROWS_HASHED = 65_536  # at once
PLAN_COLUMNS = ("unit_id", "row_hash", "pair_frames")
# What a row asks for. Attributes and num_frames may change without making its masks wrong.
HASHED_COLUMNS = ("video_id", "video_uri", "expression_id", "expression", "frames", "frame_indices", "target_frames")


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanOptions:
    """How units are cut. None of it decides the masks but `frame_step`, which is that of the run."""

    frame_step: int = 1
    unit_frames: int | None = None  # target of a unit in pair-frames; None: from the size of the whole
    assume_frames: int = 100  # of a video whose length no row tells


def plan_part(manifest: pa.Table, fingerprint: str, options: PlanOptions) -> pa.Table:
    """The rows of `manifest` in the order of their units, longest unit first, with PLAN_COLUMNS in front.

    The order is worked out on ids and lengths alone, so that the rows are copied once.
    """
    keys = manifest.select(["video_id", "expression_id"])
    by_key = pc.sort_indices(keys, [("video_id", "ascending"), ("expression_id", "ascending")]).to_numpy()
    keys = keys.take(by_key)
    lengths = pair_frames(manifest, options).to_numpy()[by_key]
    ends = _unit_ends(_video_starts(keys["video_id"]), lengths, options.unit_frames or _target(int(lengths.sum())))
    starts = np.concatenate([[0], ends[:-1]])
    order = np.argsort(-np.add.reduceat(lengths, starts), kind="stable")
    bounds = np.stack([starts, ends], axis=1)[order].tolist()
    places = np.concatenate([np.arange(start, end) for start, end in bounds])
    ids = np.array(_unit_ids(keys, starts, ends, fingerprint), object)[order]
    del keys
    rows = by_key[places]
    part = {
        "unit_id": pa.array(np.repeat(ids, (ends - starts)[order]), pa.string()),
        "row_hash": row_hashes(manifest).take(pa.array(rows)),
        "pair_frames": pa.array(lengths[places], pa.int32()),
    }
    taken = manifest.take(rows)
    return pa.table(part | {name: taken[name] for name in manifest.column_names})


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSize:
    """How much work the rows of a plan are."""

    pairs: int = 0
    videos: int = 0
    units: int = 0
    pair_frames: int = 0  # masks to make
    video_frames: int = 0  # frames to decode: once for the pairs of a video in one unit
    assumed_pairs: int = 0  # of videos whose length is not known: `assume_frames` stand for it

    @classmethod
    def of(cls, part: pa.Table) -> "PlanSize":
        """The extent of a plan part, as `plan_part` makes it."""
        videos = part.group_by(["unit_id", "video_id"]).aggregate([("pair_frames", "max")])
        known = [
            part[name].is_valid() for name in ("frames", "frame_indices", "num_frames") if name in part.column_names
        ]
        return cls(
            pairs=part.num_rows,
            videos=pc.count_distinct(part["video_id"]).as_py(),
            units=pc.count_distinct(part["unit_id"]).as_py(),
            pair_frames=pc.sum(part["pair_frames"]).as_py(),
            video_frames=pc.sum(videos["pair_frames_max"]).as_py(),
            assumed_pairs=part.num_rows - pc.sum(functools.reduce(pc.or_, known)).as_py() if known else part.num_rows,
        )


def pair_frames(manifest: pa.Table, options: PlanOptions) -> pa.ChunkedArray:
    """int32 [rows]: frames that each pair is expected to take."""
    counts = pa.chunked_array([pa.nulls(manifest.num_rows, pa.int32())])
    for column in ("frames", "frame_indices"):
        if column in manifest.column_names:
            counts = pc.coalesce(counts, pc.list_value_length(manifest[column]))
    whole = pa.scalar(options.assume_frames, pa.int32())
    if "num_frames" in manifest.column_names:
        whole = pc.coalesce(manifest["num_frames"], whole)
    stepped = pc.divide(pc.add(whole, options.frame_step - 1), options.frame_step)
    counts = pc.coalesce(counts, stepped)
    return pc.cast(pc.max_element_wise(counts, 1), pa.int32())


def row_hashes(manifest: pa.Table) -> pa.Array:
    """binary [rows]: 8-byte hash of what each row asks for (HASHED_COLUMNS; an absent column counts as null)."""
    hashes = bytearray()
    for start in range(0, manifest.num_rows, ROWS_HASHED):  # the texts of all rows at once would be as large as they
        rows = manifest.slice(start, ROWS_HASHED)
        texts = pc.binary_join_element_wise(*(_as_text(rows, name) for name in HASHED_COLUMNS), "\x1f")
        for text in texts.to_pylist():
            hashes += hashlib.blake2b(text.encode(), digest_size=8).digest()
    offsets = np.arange(0, len(hashes) + 1, 8, dtype=np.int32)
    return pa.Array.from_buffers(
        pa.binary(), manifest.num_rows, [None, pa.py_buffer(offsets), pa.py_buffer(bytes(hashes))]
    )


def compare_with_plan(manifest: pa.Table, planned: pa.Table, source: str) -> pa.Table:
    """Rows of `manifest` that `planned` (video_id, expression_id, row_hash) does not hold yet.

    Raises InputError, listing pairs, if a planned row changed or vanished.
    """
    keys = ["video_id", "expression_id"]
    rows = manifest.select(keys).append_column("row_hash", row_hashes(manifest))
    rows = rows.append_column("row", pa.array(np.arange(manifest.num_rows)))
    joined = rows.join(planned.select([*keys, "row_hash"]), keys, right_suffix="_planned", join_type="full outer")
    changed = joined.filter(pc.not_equal(joined["row_hash"], joined["row_hash_planned"]))
    vanished = joined.filter(pc.is_null(joined["row"]))
    if changed.num_rows or vanished.num_rows:
        raise InputError(
            f"{source} does not continue this run: {_listing('changed', changed)}{_listing('vanished', vanished)}"
            "restore these rows, or write to another run folder"
        )
    new = joined.filter(pc.is_null(joined["row_hash_planned"]))["row"]
    return manifest.take(pc.sort_indices(new).to_numpy() if not len(new) else np.sort(new.to_numpy()))


def check_columns(manifest: pa.Table, source: str) -> None:
    """Refuse a manifest whose attributes carry names that the plan needs for itself."""
    taken = sorted(set(PLAN_COLUMNS) & set(manifest.column_names))
    if taken:
        raise InputError(f"{source}: column names {', '.join(taken)} are reserved for the plan; rename them")


def _listing(what: str, rows: pa.Table) -> str:
    if not rows.num_rows:
        return ""
    pairs = rows.slice(0, 5).to_pylist()
    named = ", ".join(f"video_id={pair['video_id']} expression_id={pair['expression_id']}" for pair in pairs)
    return f"{rows.num_rows} planned rows {what} ({named}{', ...' if rows.num_rows > 5 else ''}); "


def _as_text(manifest: pa.Table, name: str) -> pa.ChunkedArray:
    if name not in manifest.column_names:
        return pa.chunked_array([pa.repeat("\x00", manifest.num_rows)])
    column = manifest[name]
    if pa.types.is_list(MANIFEST.field(name).type):
        column = pc.cast(column, pa.list_(pa.string()))
        column = pc.if_else(pc.is_null(column), None, pc.binary_join(column, "\x1e"))
    return pc.fill_null(column, "\x00")


def _target(total: int) -> int:
    return int(np.clip(total // UNITS_AIMED_AT, SMALLEST_TARGET, LARGEST_TARGET))


def _video_starts(video_ids: pa.ChunkedArray) -> np.ndarray:
    """First row of each video, of rows sorted by video."""
    runs = pc.run_end_encode(video_ids.combine_chunks())
    runs = runs.chunk(0) if isinstance(runs, pa.ChunkedArray) else runs
    return np.concatenate([[0], runs.run_ends.to_numpy()])[:-1]


def _unit_ends(videos: np.ndarray, lengths: np.ndarray, target: int) -> np.ndarray:
    """Row after each unit: small videos bundled up to the target, large ones cut into parts of whole expressions."""
    bounds = np.append(videos, len(lengths))
    sums = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ends: list[int] = []
    open_start = 0  # first row of the bundle that is still being filled
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if start > open_start and sums[end] - sums[open_start] > target:
            ends.append(start)
            open_start = start
        if sums[end] - sums[start] > VIDEO_TARGETS * target:
            ends += _parts(sums, start, end, VIDEO_TARGETS * target)
            open_start = end
    if open_start < len(lengths):
        ends.append(len(lengths))
    return np.array(ends)


def _parts(sums: np.ndarray, start: int, end: int, limit: int) -> list[int]:
    ends = []
    while start < end:
        stop = int(np.searchsorted(sums, sums[start] + limit, side="right")) - 1
        start = min(max(stop, start + 1), end)
        ends.append(start)
    return ends


def _unit_ids(rows: pa.Table, starts: np.ndarray, ends: np.ndarray, fingerprint: str) -> list[str]:
    keys = pc.binary_join_element_wise(rows["video_id"], rows["expression_id"], "\x1f")
    ids = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        text = "\x1e".join([fingerprint, *sorted(keys.slice(start, end - start).to_pylist())])
        ids.append(hashlib.sha256(text.encode()).hexdigest()[:20])
    return ids
