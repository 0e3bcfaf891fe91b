"""Options of `rvos status`."""

from jobs.config.options import argument, command_config


@command_config
class StatusConfig:
    """Show how far RUN is, from its folder alone: pairs done, failed, pace and time to go.

    \b
    rvos status s3://bucket/runs/first
    """

    run: str = argument(is_path=True)
