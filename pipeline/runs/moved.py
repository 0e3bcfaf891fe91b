"""Videos that are not any more where the plan says: on another mount, or with a fresh signature in their URI.

RUN/moved.parquet holds the present URI of each (video_id, video_uri). The plan stays as it is.
"""

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import parquet, storage
from pipeline.runs.plan import without_query

MOVED = "moved.parquet"
COLUMNS = ["video_id", "video_uri"]


def rebased(manifest: pa.Table, old: str, new: str) -> pa.Table:
    """Return `manifest` with `new` in place of `old` at the start of its URIs."""
    uris = manifest["video_uri"]
    moved = pc.binary_join_element_wise(new, pc.utf8_slice_codeunits(uris, len(old)), "")
    moved = pc.if_else(pc.starts_with(uris, old), moved, uris)
    return manifest.set_column(manifest.column_names.index("video_uri"), "video_uri", moved)


def moved_videos(run_folder: str) -> dict[str, str]:
    """Return the present URI of each video that has another one in the plan, by video_id."""
    try:
        return _uris(parquet.read_table(storage.join(run_folder, MOVED)))
    except FileNotFoundError:
        return {}


def note_moved_videos(run_folder: str, in_plan: pa.Table, planned: pa.Table, manifest: pa.Table) -> None:
    """Write the URIs of `manifest` that differ from the planned ones, if any do or did.

    in_plan: COLUMNS of the plan. planned: the rows of `manifest` with the URIs with which new videos will be planned.
    """
    now = _distinct(manifest)
    new = _distinct(planned).join(in_plan, "video_id", join_type="left anti").select(COLUMNS)
    both = pa.concat_tables([in_plan, new.cast(in_plan.schema)])
    both = both.join(now, "video_id", join_type="inner", left_suffix="_planned")
    moved = both.filter(pc.not_equal(both["video_uri"], both["video_uri_planned"])).select(COLUMNS)
    uri = storage.join(run_folder, MOVED)
    if moved.num_rows:
        parquet.write_table(uri, moved)
    else:
        storage.remove(uri)


def take_moved_videos(run_folder: str, source: str) -> None:
    """Make the present URIs in the run `source` those of a run that refines it."""
    uri = storage.join(run_folder, MOVED)
    try:
        parquet.write_table(uri, parquet.read_table(storage.join(source, MOVED)))
    except FileNotFoundError:
        storage.remove(uri)


def with_present_uris(planned: pa.Table, run_folder: str) -> pa.Table:
    """Return rows of the plan with the present URIs of their videos."""
    moved = moved_videos(run_folder)
    return _replaced(planned, moved) if moved else planned


def with_corrected_uris(manifest: pa.Table, run_folder: str, planned: pa.Table, corrected: set[str]) -> pa.Table:
    """Return `manifest` with the URIs of `planned` for the videos `corrected`, and for those that moved before."""
    manifest = with_planned_uris(manifest, run_folder, planned)
    uris = _uris(planned)
    return _replaced(manifest, {video: uris[video] for video in corrected}) if corrected else manifest


def with_other_uris(manifest: pa.Table, planned: pa.Table) -> set[str]:
    """Return the videos that have another URI in `manifest` than in `planned`, apart from its query."""
    both = planned.join(manifest.select(COLUMNS).group_by(COLUMNS).aggregate([]), "video_id", right_suffix="_now")
    differ = pc.not_equal(without_query(both["video_uri"]), without_query(both["video_uri_now"]))
    return set(both.filter(differ)["video_id"].to_pylist())


def with_planned_uris(manifest: pa.Table, run_folder: str, planned: pa.Table) -> pa.Table:
    """Return `manifest` with the URIs of `planned` for videos that have moved to the URI in `manifest`."""
    moved = moved_videos(run_folder)
    if not moved:
        return manifest
    there = _uris(manifest)
    return _replaced(manifest, {v: uri for v, uri in _uris(planned).items() if v in moved and moved[v] == there.get(v)})


def _distinct(table: pa.Table) -> pa.Table:
    return table.select(COLUMNS).group_by(COLUMNS).aggregate([])


def _uris(table: pa.Table) -> dict[str, str]:
    return dict(zip(table["video_id"].to_pylist(), table["video_uri"].to_pylist(), strict=True))


def _replaced(table: pa.Table, uris: dict[str, str]) -> pa.Table:
    pairs = zip(table["video_id"].to_pylist(), table["video_uri"].to_pylist(), strict=True)
    column = pa.array([uris.get(video, uri) for video, uri in pairs], pa.string())
    return table.set_column(table.column_names.index("video_uri"), "video_uri", column)
