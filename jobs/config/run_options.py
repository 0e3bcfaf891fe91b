"""Options that `rvos segment` and `rvos plan` share."""

from jobs.config.options import command_config, option
from model.bundled import BUNDLED


@command_config
class RunOptions:
    """What decides the masks of a run, and so what it takes to plan one."""

    checkpoint: str = option(
        default=BUNDLED,
        is_path=True,
        help="Checkpoint folder, as 'rvos convert' or 'rvos train' makes it; local or s3://. "
        "'tiny' is the one in the box: it knows simple coloured shapes, not the world.",
    )
    limit: int | None = option(default=None, least=1, help="Only the first N pairs of the manifest.")
    window: str = option(default="36", metavar="N|whole", help="Frames of one model call, or all of the video.")
    overlap: int = option(
        default=0,
        metavar="M",
        least=0,
        help="Frames that each window shares with the next, below --window: the object is followed from one to the "
        "other, and shared frames take the mean of both.",
    )
    short_side: int | None = option(
        default=None, least=32, help="Model input: shorter side.  [default: 360; 96 for the checkpoint in the box]"
    )
    max_size: int | None = option(
        default=None, least=32, help="Model input: limit of the longer side.  [default: none]"
    )
    frame_step: int = option(default=1, least=1, help="Every n-th frame, for rows that list no frames.")
    assume_frames: int = option(
        default=100, least=1, help="Length of a video for planning, where the manifest does not tell it."
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "bf16", "fp16"),
        help="Of the model's matrix products. What is faster than fp32 is compared with it on the first unit of each "
        "actor, and refused if more than 2 % of the masks' pixels differ.",
    )
    compile: bool = option(
        default=False,
        help="Have torch compile the model at the start (takes minutes, and a C++ compiler); compared likewise.",
    )
    decoder: str = option(default="pyav", choices=("pyav", "decord"), help="Library that reads video files.")
    device: str = option(
        default="auto", choices=("auto", "cpu", "cuda"), help="auto: CUDA where there is a GPU, else CPU."
    )
