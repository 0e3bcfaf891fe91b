"""Find committed units to make again: those with failed pairs, and those that cannot be read.

A retry may differ from the run: in some options, and in the URIs of videos of which no pair has masks yet.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.io import parquet
from pipeline.io.parallel import bounded_map
from pipeline.runs.commit import Receipt, damage_of
from pipeline.runs.receipts import READERS, receipts_of
from pipeline.runs.run import Run, Unit
from pipeline.runs.run_json import read_run_json

# A retry may use other values of these than the run. Its receipts name them.
RETRY_OPTIONS = ("allow_short", "decoder", "window", "overlap", "max_whole_frames", "short_side", "max_size")


def other_options(run: Run, inputs: dict) -> str:
    """Return the values in `inputs`, the inputs of a fingerprint, in which a retry differs from the run.

    Returns "" if it differs in more than RETRY_OPTIONS.
    """
    decided = read_run_json(run.folder).get("decides", {})
    names = [name for name in {**decided, **inputs} if decided.get(name) != inputs.get(name)]
    if not set(names) <= set(RETRY_OPTIONS):
        return ""
    return ", ".join(f"{name}={inputs.get(name, 0)}" for name in sorted(names) if name in inputs or name == "overlap")


def without_masks(run: Run, videos: set[str], statuses: Collection[str]) -> set[str]:
    """Return those of `videos` whose pairs all failed with one of `statuses`, or are not segmented yet."""
    if not videos:
        return videos
    committed, wanted, others = run.committed(), pa.array(sorted(videos)), set()
    plan = pa.concat_tables(run.read_part(part, ["unit_id", "video_id"]) for part in run.parts())
    units = pc.unique(plan.filter(pc.is_in(plan["video_id"], wanted))["unit_id"]).to_pylist()

    def read(unit_id: str) -> set[str]:
        rows = parquet.read_table(run.masks_uri(unit_id), ["video_id", "status"])
        return set(rows.filter(pc.invert(pc.is_in(rows["status"], pa.array(statuses))))["video_id"].to_pylist())

    for found in bounded_map(read, [unit_id for unit_id in units if unit_id in committed], READERS):
        others |= found
    return videos - others


def to_retry(
    run: Run, units: list[Unit], committed: set[str], retry_statuses: tuple[str, ...]
) -> Iterator[tuple[Unit, Receipt]]:
    """Yield the next generation of each committed unit with pairs of these statuses, and its present receipt."""
    if not retry_statuses:
        return
    done = [unit for unit in units if unit.unit_id in committed]
    for unit, receipt in zip(done, receipts_of(run, (unit.unit_id for unit in done)), strict=True):
        if not receipt.failed.keys().isdisjoint(retry_statuses):
            yield replace(unit, generation=receipt.generation + 1), receipt


def to_repair(run: Run, units: list[Unit], committed: set[str]) -> list[Unit]:
    """Return the committed units whose file is damaged."""
    done = [unit for unit in units if unit.unit_id in committed]
    damage = bounded_map(lambda unit: damage_of(run.masks_uri(unit.unit_id)), done, READERS)
    return [replace(unit, repair=True) for unit, reason in zip(done, damage, strict=True) if reason]
