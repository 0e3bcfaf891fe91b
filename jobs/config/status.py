"""Options of `rvos status`."""

from jobs.config.options import argument, command_config, option
from schemas import kinds


@command_config
class StatusConfig:
    """Show the progress of a run.

    Reads only the folder RUN, so it works on any machine. Prints pairs done and failed, pace and remaining time.

        rvos status s3://bucket/runs/first
        rvos status s3://bucket/runs/first --watch
    """

    run: str = argument(takes=kinds.RUN)
    watch: bool = option(
        default=False,
        help="Stay, and show pairs, pace and remaining time until the run is complete (exit code 0), or until every "
        "command that worked on it has ended without completing it (exit code 1). "
        "After a killed command it goes on waiting. Ctrl-C leaves; it does not disturb the run.",
    )
    interval: float = option(default=5.0, above=0, metavar="SECONDS", help="Seconds between two looks with --watch.")
