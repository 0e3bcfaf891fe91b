"""Options of `rvos compact`."""

from jobs.config.options import argument, command_config, option


@command_config
class CompactConfig:
    """Write the masks of the finished RUN as few Parquet files of about 128 MB, sorted by video.

    RUN stays as it is. 'rvos audit RUN --compacted DIR' compares the two.

    \b
    rvos compact s3://bucket/runs/first --out s3://bucket/masks/first
    """

    run: str = argument(is_path=True)
    out: str = option(is_path=True, help="New folder for the data set, local or s3://.")
