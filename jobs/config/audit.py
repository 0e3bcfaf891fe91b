"""Options of `rvos audit`."""

from jobs.config.options import argument, command_config, option


@command_config
class AuditConfig:
    """Check that every pair of RUN is there exactly once; writes RUN/_SUCCESS if so.

    Exit code 1 if pairs are missing, doubled or not of the plan, or units stale or unreadable.

    \b
    rvos audit runs/first --manifest data/manifest.parquet
    """

    run: str = argument(is_path=True)
    manifest: str | None = option(
        default=None, is_path=True, help="Also check that the plan holds each pair of this manifest, and no other."
    )
    compacted: str | None = option(
        default=None,
        metavar="DIR",
        is_path=True,
        help="Also check that what 'rvos compact' wrote to DIR equals the run.",
    )
