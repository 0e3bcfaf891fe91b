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
        help="Keep showing pairs, pace and remaining time. Ends with exit code 0 when the run is complete, and with 1 "
        "when every command that worked on it has ended and it is still incomplete. A command killed on another host "
        "cannot report its end: --watch then goes on waiting. Ctrl-C leaves; it does not disturb the run.",
    )
    interval: float = option(default=5.0, above=0, metavar="SECONDS", help="Seconds between two looks with --watch.")
