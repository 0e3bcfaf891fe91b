"""Options of `rvos audit`."""

from jobs.config.options import argument, command_config, option


@command_config
class AuditConfig:
    """Verify that every pair of a run was written exactly once.

    List missing, duplicate and orphan pairs, and stale and unreadable units. Write RUN/_SUCCESS if there are none; else
    the exit code is 1.

        rvos audit runs/first --manifest data/manifest.parquet
    """

    run: str = argument(is_path=True)
    manifest: str | None = option(
        default=None, is_path=True, help="Also verify that the plan holds exactly the pairs of this manifest."
    )
    compacted: str | None = option(
        default=None,
        metavar="DIR",
        is_path=True,
        help="Also verify that the data set in DIR, written by 'rvos compact', equals the run.",
    )
