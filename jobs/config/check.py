"""Options of `rvos check`."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, command_config, option
from model.bundled import BUNDLED
from schemas import kinds


@command_config
class CheckConfig(MediaOptions):
    """Validate a manifest and its videos before you pay for GPUs.

    Checks every row. Opens every video and checks its header and first frame; with --decode, all frames. Lists the
    problems. Exits with 1 if some pairs would fail, and with 2 if 'rvos segment' would refuse to start.

        rvos check data/manifest.parquet
        rvos check data/manifest.parquet --checkpoint checkpoint/
        rvos check data/manifest.parquet --decode
        rvos check s3://bucket/manifest.parquet --write --json
    """

    manifest: str = argument(takes=kinds.MANIFEST)
    checkpoint: str | None = option(
        default=None,
        takes=kinds.CHECKPOINT,
        names=(BUNDLED,),
        help="Also check that no expression is too long for this checkpoint: a folder, local or s3://, or 'tiny' for "
        "the bundled one.  [default: not checked]",
    )
    decode: bool = option(default=False, help="Decode every video to its end. Takes as long as the decoding of a run.")
    write: bool = option(default=False, help="Write the number of frames of each video into the column num_frames.")
