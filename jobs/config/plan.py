"""Options of `rvos plan`."""

from dataclasses import fields

from jobs.config.options import argument, command_config, option, option_of
from jobs.config.run_options import RunOptions
from jobs.config.segment import SegmentConfig
from schemas import kinds


@command_config
class PlanConfig(RunOptions):
    """Estimate time, size and cost of a run.

    Estimates the masks, bytes and hours of a run that segments every pair (a video and a sentence) of MANIFEST, and its
    units (files of masks). Segments a few videos on this machine to measure its speed; with --frames-per-second, only
    decodes them and estimates no bytes. Writes nothing. If MANIFEST is a run, estimates what 'rvos refine' of this run
    takes; --checkpoint is then the folder of SAM 2 or SAM 3.

        rvos plan data/manifest.parquet --checkpoint checkpoint/
        rvos plan s3://b/manifest.parquet --checkpoint s3://b/ckpt --gpu A10G --frames-per-second 110 --price 1.0
        rvos plan runs/first --checkpoint sam2.1-hiera-large/
    """

    manifest: str = argument(takes=kinds.PLANNED)
    frames_per_second: float | None = option(
        default=None,
        above=0,
        heading="Estimate",
        help="Speed on one GPU, as 'rvos segment' prints it (frames/s; a frame counts once for each sentence). "
        "[default: measured on this machine]",
    )
    gpu: str | None = option(
        default=None,
        metavar="NAME",
        heading="Estimate",
        help="Name of the GPU that the run will use. For a GPU that this machine lacks, give --frames-per-second too; "
        "without it, the output has no cost and says why.",
    )
    price: float | None = option(
        default=None,
        least=0,
        heading="Estimate",
        help="Price per hour of one GPU, in any currency. If the speed is measured here, on a CPU: price of this "
        "machine.",
    )
    probe: int = option(
        default=3,
        least=1,
        heading="Estimate",
        help="Measure at most N videos, spread over all lengths; only the first window of each "
        "counts. On a CPU, measuring stops after about 20 seconds.",
    )

    checkpoint: str | None = option_of(
        RunOptions,
        "checkpoint",
        help="Checkpoint folder, local or s3://: from 'rvos convert' or 'rvos train', or facebook/sam3 as downloaded. "
        "'tiny' is the bundled checkpoint, which knows simple coloured shapes only. If MANIFEST is a run, a folder of "
        "SAM 2 or SAM 3 is required.  [default: tiny if all paths and videos are local, else required]",
    )
    precision: str = option_of(RunOptions, "precision", help="Precision to measure with.")
    compile: bool = option_of(RunOptions, "compile", help="Measure the compiled model, after minutes of compiling.")
    device: str = option_of(
        RunOptions, "device", help="Device to measure on; auto takes a GPU if this machine has one, else the CPU."
    )

    def __post_init__(self) -> None:
        self.segment()

    def segment(self) -> SegmentConfig:
        """Return the config of the run to plan."""
        shared = {field.name: getattr(self, field.name) for field in fields(RunOptions)}
        return SegmentConfig(manifest=self.manifest, run="", **shared)
