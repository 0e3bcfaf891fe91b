"""Options of `rvos check`."""

from jobs.config.options import argument, command_config, option


@command_config
class CheckConfig:
    """Check a MANIFEST and open each of its videos (headers only); report all problems at once.

    \b
    rvos check data/manifest.parquet
    rvos check s3://bucket/manifest.parquet --write --json
    """

    manifest: str = argument(is_path=True)
    write: bool = option(default=False, help="Add num_frames to the manifest, so that planning knows the lengths.")
