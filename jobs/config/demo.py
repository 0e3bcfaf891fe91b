"""Options of `rvos demo`."""

from jobs.config.options import command_config, option
from model.bundled import BUNDLED
from schemas import kinds
from schemas.errors import InputError


@command_config
class DemoConfig:
    """Segment, score and draw synthetic videos, or segment your own.

    Renders videos, segments them with the bundled checkpoint, and audits, scores and draws the masks, in a minute or
    two. Needs no GPU. The bundled checkpoint knows simple coloured shapes only. Your own --video is segmented and
    drawn, but not scored. The film OUT/masks.mp4 shows it once for each sentence, with a caption; small frames are
    enlarged. For videos without captions, run 'rvos export overlay OUT/run'.

        rvos demo --out /tmp/rvos-demo
        rvos demo --video clip.mp4 --expression "the red car" --expression "the cyclist" --checkpoint checkpoint/
    """

    out: str = option(
        default="rvos-demo",
        takes=kinds.NEW_FOLDER,
        help="Folder to write to: a new one, or the folder of an earlier demo.",
    )
    video: str | None = option(default=None, takes=kinds.VIDEO, help="Your own video file or folder of frames.")
    expression: tuple[str, ...] = option(default=(), help="Expression to segment in --video; may be repeated.")
    checkpoint: str | None = option(
        default=None,
        takes=kinds.CHECKPOINT,
        names=(BUNDLED,),
        help="Checkpoint folder for --video, from 'rvos convert' or 'rvos train'. 'tiny' is the bundled checkpoint.  "
        "[default: tiny]",
    )

    def __post_init__(self) -> None:
        if (self.video is None) == bool(self.expression):
            raise InputError("got only one of --video and --expression; give both or none")
        if self.video is None and self.checkpoint not in (None, BUNDLED):
            raise InputError("the synthetic videos are for the bundled checkpoint; give --video with --checkpoint")
