"""Options of `rvos status`."""

from jobs.config.options import argument, command_config
from schemas import kinds


@command_config
class StatusConfig:
    """Show the progress of a run.

    Reads only the folder RUN, so it works on any machine. Prints pairs done and failed, pace and remaining time.

        rvos status s3://bucket/runs/first
    """

    run: str = argument(takes=kinds.RUN)
