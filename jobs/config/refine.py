"""Options of `rvos refine`."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import argument, command_config, finish_command, option, option_of
from jobs.config.segment import SegmentConfig
from schemas import kinds


@command_config
class RefineConfig(MediaOptions):
    """Refine the masks of a finished run with SAM 2 or SAM 3.

    For each pair, finds the first part of the video (of --window frames) in which RUN shows the object. Gives the model
    the mask with the highest score in this part as a prompt, and follows the object through this part and the later
    ones. The masks go to the folder OUT, a run like RUN with the same pairs. After an interruption, repeat the command:
    finished work is kept.

        rvos refine runs/first runs/refined --checkpoint sam2.1-hiera-large/
        rvos refine runs/first runs/boxes --checkpoint sam2.1-hiera-large/ --prompt box
        rvos select runs/refined --against runs/first --out selected/
    """

    run: str = argument(takes=kinds.RUN)
    out: str = argument(takes=kinds.NEW_RUN)
    checkpoint: str = option(
        takes=kinds.REFINER,
        heading="Model",
        help="Folder of SAM 2 or SAM 3, local or s3://, as the hub gives it: facebook/sam2.1-hiera-large, "
        "facebook/sam3.",
    )
    prompt: str = option(
        default="mask",
        choices=("mask", "box"),
        heading="Model",
        help="What the model is given in the frame with the highest score. mask: the mask. The answer in that "
        "frame is the same mask, but scaled to the grid of the model and back (256 x 256 for SAM 2.1). box: the box "
        "around it, in which the model draws the mask.",
    )
    fuse: bool = option(
        default=False,
        heading="Model",
        help="For sentences that mean several objects. The video is cut into parts of N frames (--window). Looks in "
        "each part at the frames in which neither the mask of RUN nor the refined mask is empty. If, in most "
        "of them, the box around RUN's mask has more than 1.5 times the area of the box around the refined mask, "
        "writes the union of both masks in the whole part.",
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "bf16"),
        heading="Model",
        help="Precision of matrix multiplications and convolutions. Masks in bf16 differ from those in fp32, more with "
        "every frame.",
    )
    window: int = option(
        default=128,
        least=16,
        heading="Model",
        help="Read the video in parts of N frames. In the first part in which RUN shows the object, follow it forward "
        "and backward from the frame with the highest score; in later parts, forward only.",
    )
    device: str = option_of(SegmentConfig, "device")
    actors: str | None = option_of(SegmentConfig, "actors")
    gpus_per_actor: float | None = option_of(SegmentConfig, "gpus_per_actor")
    unit_timeout: float | None = option_of(SegmentConfig, "unit_timeout")
    address: str = option_of(SegmentConfig, "address")
    shard: str | None = option_of(SegmentConfig, "shard")
    patience: float = option_of(SegmentConfig, "patience")
    retry_errors: str | None = option(
        default=None,
        value_if_bare="all",
        metavar="[STATUS,...]",
        heading="Retrying",
        help="Refine failed pairs again: all, or those with these statuses, as in --retry-errors=oom,timeout. Pairs "
        "that failed in RUN must be retried there first.",
    )
    repair: bool = option(
        default=False,
        heading="Retrying",
        help="Read all committed units of OUT, and make again those with a damaged file.",
    )
    new_run: str | None = option(
        default=None,
        metavar="DIR",
        takes=kinds.NEW_RUN,
        heading="Retrying",
        help="If OUT was created from other masks or with other weights or options, write to DIR instead of failing.",
    )
    unsafe_storage: bool = option_of(SegmentConfig, "unsafe_storage")
    dry_run: bool = option_of(SegmentConfig, "dry_run")
    on_finish: str | None = finish_command("OUT")

    def __post_init__(self) -> None:
        self.segment({})

    def segment(self, decides: dict) -> SegmentConfig:
        """Return the options as those of `rvos segment`. `decides`: of the run.json of RUN, whose frames are read."""
        names = ("checkpoint", "precision", "device", "actors", "gpus_per_actor", "unit_timeout", "address", "patience")
        names += ("shard", "retry_errors", "repair", "new_run", "unsafe_storage", "allow_local", "allow_private")
        frames = {name: decides[name] for name in ("frame_step", "decoder", "allow_short") if name in decides}
        same = {name: getattr(self, name) for name in names}
        return SegmentConfig(manifest=self.run, run=self.out, window=str(self.window), **same, **frames)
