"""Options of `rvos compact`."""

from jobs.config.options import argument, command_config, option
from schemas import kinds


@command_config
class CompactConfig:
    """Copy the masks of a finished run into a few large files.

    Writes Parquet files of about 128 MB, sorted by video, and does not change RUN. 'rvos audit RUN --compacted DIR'
    verifies the copy.

        rvos compact s3://bucket/runs/first --out s3://bucket/masks/first
    """

    run: str = argument(takes=kinds.RUN)
    out: str = option(takes=kinds.NEW_FOLDER, help="Folder to write to, new or from the same command; local or s3://.")
