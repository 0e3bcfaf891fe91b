"""Options of `rvos plan`."""

from dataclasses import fields

from jobs.config.options import argument, command_config, option
from jobs.config.run_options import RunOptions
from jobs.config.segment import SegmentConfig


@command_config
class PlanConfig(RunOptions):
    """Say what a run over MANIFEST will take: units, masks, bytes, hours and money. Nothing is written.

    A few videos are segmented here to measure; with --frames-per-second they are only decoded.

    \b
    rvos plan data/manifest.parquet --checkpoint checkpoint/
    rvos plan s3://b/manifest.parquet --checkpoint s3://b/ckpt --gpu A10G --frames-per-second 110 --price 1.0
    """

    manifest: str = argument(is_path=True)
    frames_per_second: float | None = option(
        default=None,
        above=0,
        help="Masks per second of one GPU, as 'rvos segment' reports them.  [default: measured on this machine]",
    )
    gpu: str | None = option(
        default=None, metavar="NAME", help="The GPU that --frames-per-second and --price are of, for the report."
    )
    price: float | None = option(default=None, least=0, help="Price of one hour of such a machine, in any currency.")
    probe: int = option(default=3, least=1, help="Videos that are opened to measure, spread over long and short ones.")

    def segment(self) -> SegmentConfig:
        """The run that is planned."""
        shared = {field.name: getattr(self, field.name) for field in fields(RunOptions)}
        return SegmentConfig(manifest=self.manifest, run="", **shared)
