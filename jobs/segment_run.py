"""Find the run of `rvos segment`, and compare the manifest with what it has planned."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs.config.segment import SegmentConfig
from jobs.terminal.finish import note_out
from pipeline.io import storage
from pipeline.runs.moved import rebased, with_corrected_uris, with_other_uris
from pipeline.runs.plan import HASHED_COLUMNS
from pipeline.runs.retry import other_options, without_masks
from pipeline.runs.run import OtherRunError, Run
from schemas.pair import PAIR_COLUMNS


def as_planned(config: SegmentConfig, the_run: Run, manifest: pa.Table) -> pa.Table:
    """Return the manifest with the planned URIs of videos that have moved, or whose URI was corrected for a retry."""
    for old, new in reversed(config.moves):
        manifest = rebased(manifest, new, old)
    if not the_run.parts():
        return manifest
    planned = the_run.planned_uris()
    manifest = with_corrected_uris(manifest, the_run.folder, planned, set())
    if not config.retry_statuses:
        return manifest
    corrected = without_masks(the_run, with_other_uris(manifest, planned), config.retry_statuses)
    return with_corrected_uris(manifest, the_run.folder, planned, corrected)


def as_moved(config: SegmentConfig, manifest: pa.Table) -> pa.Table:
    """Return the manifest with the URIs that --rebase gives. It may have them already."""
    for old, new in config.moves:
        manifest = rebased(manifest, old, new)
    return manifest


def run_folder(config: SegmentConfig, fingerprint: str, inputs: dict) -> tuple[str, bool]:
    """Return RUN, or --new-run if RUN has another fingerprint, and True if it exists. Raises InputError."""
    folder = storage.absolute(config.run)
    try:
        return folder, Run.exists(folder, fingerprint, inputs)
    except OtherRunError as error:
        if config.new_run is None:
            question = "" if config.checkpoint else ". Did you forget --checkpoint?"
            raise OtherRunError(f"{error}{question}") from None
    folder = storage.absolute(config.new_run)
    note_out(folder)
    return folder, Run.exists(folder, fingerprint, inputs)


def find_run(config: SegmentConfig, fingerprint: str, inputs: dict) -> tuple[Run, bool]:
    """Return the run in `run_folder`, and True if it exists. A retry may differ from it in some options."""
    try:
        folder, exists = run_folder(config, fingerprint, inputs)
    except OtherRunError:
        if not config.retry_statuses or config.new_run:
            raise
        the_run = Run.open(storage.absolute(config.run))
        otherwise = other_options(the_run, inputs)
        if not otherwise:
            raise
        return replace(the_run, otherwise=otherwise), True
    return Run.open(folder) if exists else Run(folder, fingerprint), exists


def ignored_columns(the_run: Run, manifest: pa.Table) -> list[str]:
    """Return the columns that do not affect masks, and have other values in `manifest` than in planned rows."""
    names = [name for name in manifest.column_names if name not in (*HASHED_COLUMNS, "num_frames")]
    keys, found = manifest.select(PAIR_COLUMNS).append_column("row", pa.array(np.arange(len(manifest)))), set()
    for part in the_run.parts() if names else ():
        planned = the_run.read_part(part)
        rows = planned.select(PAIR_COLUMNS).append_column("planned", pa.array(np.arange(len(planned))))
        both = rows.join(keys, PAIR_COLUMNS, join_type="inner")
        for name in names:
            theirs = manifest[name].take(both["row"])
            same = name in planned.column_names and planned[name].take(both["planned"]).equals(theirs)
            if not same and (name in planned.column_names or theirs.null_count < len(theirs)):
                found.add(name)
    return sorted(found)
