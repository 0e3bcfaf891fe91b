"""Options of `rvos audit`."""

from jobs.config.options import argument, command_config, option
from schemas import kinds


@command_config
class AuditConfig:
    """Verify that every pair of a run was written exactly once.

    Lists pairs that are missing, duplicate, orphan (written, but not planned), changed (the plan was altered or, with
    --manifest, the manifest differs from it), incomplete (frames or rows are absent) or invalid. Also lists units
    (files of masks): unreadable ones, and stale ones, which are copies of another unit, are of an earlier run, or were
    made with other weights or options. If nothing is found, writes RUN/_SUCCESS. Otherwise the exit code is 1.

        rvos audit runs/first --manifest data/manifest.parquet
    """

    run: str = argument(takes=kinds.RUN)
    manifest: str | None = option(
        default=None,
        takes=kinds.MANIFEST,
        help="Also verify that the plan of the run (RUN/plan, written by 'rvos segment') holds exactly the rows of "
        "this manifest.",
    )
    compacted: str | None = option(
        default=None,
        metavar="DIR",
        takes=kinds.COMPACTED,
        help="Also verify that DIR, written by 'rvos compact', holds the same masks as the run.",
    )
