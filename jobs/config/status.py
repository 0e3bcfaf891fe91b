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
        help="Stay, and show pairs, pace and remaining time until the run is complete (exit code 0), or until all "
        "commands on it have reported their end without completing it (exit code 1). A killed command cannot report "
        "its end: --watch then goes on waiting. Ctrl-C leaves; it does not disturb the run.",
    )
    interval: float = option(default=5.0, above=0, metavar="SECONDS", help="Seconds between two looks with --watch.")
