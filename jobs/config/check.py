"""Options of `rvos check`."""

from jobs.config.options import argument, command_config, option


@command_config
class CheckConfig:
    """Validate a manifest and its videos before you pay for GPUs.

    Check every row of MANIFEST, open every video (header and first frame), and list all problems.

        rvos check data/manifest.parquet
        rvos check s3://bucket/manifest.parquet --write --json
    """

    manifest: str = argument(is_path=True)
    write: bool = option(default=False, help="Write the number of frames of each video into the column num_frames.")
