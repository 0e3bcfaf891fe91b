"""Options that `rvos segment` and `rvos plan` share."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import command_config, option
from model.bundled import BUNDLED
from pipeline.evaluation.protocols import RULES


@command_config
class RunOptions(MediaOptions):
    """Options that decide the masks of a run or the work that it takes."""

    limit: int | None = option(
        default=None, least=1, heading="What to segment", help="Take only the first N pairs of the manifest."
    )
    frame_step: int = option(
        default=1,
        least=1,
        heading="What to segment",
        help="Take every N-th frame of the videos, except for rows with frames or frame_indices.",
    )
    checkpoint: str = option(
        default=BUNDLED,
        is_path=True,
        names=(BUNDLED,),
        heading="Model",
        help="Checkpoint folder, local or s3://, from 'rvos convert' or 'rvos train'. 'tiny' is the bundled "
        "checkpoint, which knows simple coloured shapes only.",
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "bf16", "fp16"),
        heading="Model",
        help="Precision of matrix multiplications. On the first unit of each worker, masks in bf16 or fp16 are "
        "compared with fp32; the command fails if more than 2 % of mask pixels differ.",
    )
    compile: bool = option(
        default=False,
        heading="Model",
        help="Compile the model with torch at the start, which takes minutes and a C++ compiler. The masks are "
        "compared as for --precision.",
    )
    rules: str | None = option(
        default=None,
        choices=tuple(RULES),
        metavar="NAME",
        heading="Frames",
        help=f"Segment by the published rules of a benchmark: {', '.join(RULES)}; see 'rvos evaluate --explain NAME'. "
        "An option given as well replaces its part of the rules, and the run records the difference.",
    )
    window: str | None = option(
        default=None,
        metavar="N|whole",
        heading="Frames",
        help="Number of frames per model call; 'whole' passes the whole video at once.  [default: that of --rules, "
        "else 36]",
    )
    overlap: int = option(
        default=0,
        metavar="M",
        least=0,
        heading="Frames",
        help="Number of frames that consecutive windows share, fewer than --window. The object is followed from "
        "window to window, and the mask logits of shared frames are averaged, weighted by how well the masks agree.",
    )
    short_side: int | None = option(
        default=None,
        least=32,
        heading="Frames",
        help="Shorter side of the model input, in pixels.  [default: that of --rules, else of the checkpoint, "
        "360 for published ones]",
    )
    max_size: int | None = option(
        default=None,
        least=32,
        heading="Frames",
        help="Limit of the longer side of the model input, in pixels.  [default: that of --rules, else none]",
    )
    candidates: str | None = option(
        default=None,
        choices=("best", "all"),
        heading="Frames",
        help="Object queries to write masks of: the chosen one, or all, with the chosen one marked in the column "
        "'chosen'.  [default: that of --rules, else best]",
    )
    decoder: str = option(
        default="pyav", choices=("pyav", "decord"), heading="Frames", help="Library that decodes video files."
    )
    assume_frames: int = option(
        default=100,
        least=1,
        heading="Resources",
        help="Number of frames that planning assumes for a video without num_frames in the manifest.",
    )
    device: str = option(
        default="auto",
        choices=("auto", "cpu", "cuda"),
        heading="Resources",
        help="Device of the model; auto takes a GPU if the cluster or this machine has one, else the CPU.",
    )
