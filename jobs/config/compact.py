"""Options of `rvos compact`."""

from jobs.config.options import argument, command_config, option


@command_config
class CompactConfig:
    """Copy the masks of a finished run into a few large files.

    Writes Parquet files of about 128 MB, sorted by video, and does not change RUN. 'rvos audit RUN --compacted DIR'
    verifies the copy.

        rvos compact s3://bucket/runs/first --out s3://bucket/masks/first
    """

    run: str = argument(is_path=True)
    out: str = option(is_path=True, help="New folder to write to, local or s3://.")
