"""Options that `rvos segment` and `rvos plan` share."""

from jobs.config.media_options import MediaOptions
from jobs.config.options import command_config, option
from model.bundled import BUNDLED
from model.input_size import MAX_LONG_SIDE, MAX_SHORT_SIDE
from pipeline.evaluation.protocols import RULES
from schemas import kinds

NO_CHECKPOINT = (
    "--checkpoint is missing. Give the folder of your model; or --checkpoint tiny, if you mean the bundled checkpoint, "
    "which knows simple coloured shapes only"
)


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
    checkpoint: str | None = option(
        default=None,
        takes=kinds.CHECKPOINT,
        names=(BUNDLED,),
        heading="Model",
        help="Checkpoint folder, local or s3://: from 'rvos convert' or 'rvos train', or facebook/sam3 as downloaded. "
        "'tiny' is the bundled checkpoint, which knows simple coloured shapes only.  [default: tiny if all paths "
        "and videos are local and no cluster is used, else required]",
    )
    precision: str = option(
        default="fp32",
        choices=("fp32", "bf16", "fp16"),
        heading="Model",
        help="Precision of matrix multiplications and convolutions. In bf16 or fp16, each process with ReferFormer "
        "also computes its first unit in fp32 and compares the masks. The command fails if more than 2 % of the mask "
        "pixels differ in the first unit of the run. In the first units of all other processes, the limit is 20 %: "
        "above it, the device is probably broken. With SAM, bf16 is not compared, and there is no fp16.",
    )
    compile: bool = option(
        default=False,
        heading="Model",
        help="Compile the transformer and the pixel decoder with torch. Needs a C++ compiler, and Triton on a GPU. "
        "Takes minutes for each new frame size or window length. The masks are compared as for --precision.",
    )
    rules: str | None = option(
        default=None,
        choices=tuple(RULES),
        metavar="NAME",
        heading="Frames",
        help=f"Segment by the published rules of a benchmark: {', '.join(RULES)}; 'rvos evaluate --explain NAME' "
        "prints them. If you also give --window, --short-side, --max-size or --candidates, your value "
        "replaces that of the rules.",
    )
    window: str | None = option(
        default=None,
        metavar="N|whole",
        heading="Frames",
        help="Number of frames per model call; 'whole' passes the whole video at once.  [default: from --rules, "
        "else 36]",
    )
    overlap: int = option(
        default=0,
        metavar="M",
        least=0,
        heading="Frames",
        help="Number of frames that consecutive windows share, fewer than --window. The object is tracked from "
        "window to window. In a shared frame, the mask logits of all windows that contain it are averaged. The "
        "weight of a later window is the IoU of its masks with those of the earlier windows.",
    )
    short_side: int | None = option(
        default=None,
        least=32,
        most=MAX_SHORT_SIDE,
        heading="Frames",
        help="Shorter side of the model input, in pixels.  [default: from --rules, else from the checkpoint; 360 "
        "in published checkpoints]",
    )
    max_size: int | None = option(
        default=None,
        least=32,
        most=MAX_LONG_SIDE,
        heading="Frames",
        help="Maximum length of the longer side of the model input, in pixels.  [default: from --rules, else none]",
    )
    candidates: str | None = option(
        default=None,
        choices=("best", "all"),
        heading="Frames",
        help="best: write the mask of the chosen candidate (object query); all: write the masks of all candidates, "
        "and mark the chosen one in the column 'chosen'.  [default: from --rules, else best]",
    )
    answer: str | None = option(
        default=None,
        choices=("union", "best"),
        heading="Model",
        help="For SAM 3: which of the found objects are written. union: one mask of all of them; best: the "
        "mask of the surest one, followed through the video.  [default: union]",
    )
    decoder: str = option(
        default="pyav", choices=("pyav", "decord"), heading="Frames", help="Library that decodes video files."
    )
    assume_frames: int | None = option(
        default=None,
        least=1,
        heading="Resources",
        help="Number of frames that planning assumes for a video without num_frames in the manifest.  [default: 100; "
        "'rvos plan' takes the mean of the videos that it probes]",
    )
    device: str = option(
        default="auto",
        choices=("auto", "cpu", "cuda"),
        heading="Resources",
        help="Device of the model; auto takes a GPU if the cluster or this machine has one, else the CPU.",
    )
