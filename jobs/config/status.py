"""Options of `rvos status`."""

from jobs.config.options import argument, command_config


@command_config
class StatusConfig:
    """Show how far a run is, from its folder alone.

    Counts pairs done and failed, pace, and time to go. Works on any machine that can read RUN.

        rvos status s3://bucket/runs/first
    """

    run: str = argument(is_path=True)
