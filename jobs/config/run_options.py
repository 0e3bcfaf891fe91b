"""Options that `rvos segment` and `rvos plan` share."""

from jobs.config.options import command_config, option
from model.bundled import BUNDLED


@command_config
class RunOptions:
    """Options that decide the masks of a run or the work that it takes."""

    limit: int | None = option(
        default=None, least=1, heading="What to segment", help="Take only the first N pairs of the manifest."
    )
    frame_step: int = option(
        default=1, least=1, heading="What to segment", help="Take every n-th frame, where a row lists no frames."
    )
    checkpoint: str = option(
        default=BUNDLED,
        is_path=True,
        heading="Model",
        help="Checkpoint folder, local or s3://, from 'rvos convert' or 'rvos train'. 'tiny' is the bundled one, which "
        "knows simple coloured shapes only.",
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "bf16", "fp16"),
        heading="Model",
        help="Precision of matrix multiplications. Each actor checks bf16 and fp16 against fp32 on its first unit and "
        "aborts if more than 2 % of mask pixels differ.",
    )
    compile: bool = option(
        default=False,
        heading="Model",
        help="Compile the model with torch at the start. Takes minutes and a C++ compiler; checked like --precision.",
    )
    window: str = option(
        default="36", metavar="N|whole", heading="Frames", help="Frames of one model call, or the whole video."
    )
    overlap: int = option(
        default=0,
        metavar="M",
        least=0,
        heading="Frames",
        help="Frames that consecutive windows share, fewer than --window. The object is followed from window to "
        "window, and shared frames take the mean of both.",
    )
    short_side: int | None = option(
        default=None,
        least=32,
        heading="Frames",
        help="Shorter side of the model input in pixels.  [default: the checkpoint's; 360 for published ones]",
    )
    max_size: int | None = option(
        default=None, least=32, heading="Frames", help="Largest longer side of the model input.  [default: none]"
    )
    decoder: str = option(
        default="pyav", choices=("pyav", "decord"), heading="Frames", help="Library that decodes video files."
    )
    assume_frames: int = option(
        default=100,
        least=1,
        heading="Resources",
        help="Length to plan with for videos without num_frames in the manifest.",
    )
    device: str = option(
        default="auto",
        choices=("auto", "cpu", "cuda"),
        heading="Resources",
        help="Device of the model; auto takes CUDA if there is a GPU, else the CPU.",
    )
