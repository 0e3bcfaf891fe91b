"""Options of `rvos demo`."""

from jobs.config.options import command_config, option
from schemas.errors import InputError


@command_config
class DemoConfig:
    """The whole product in a minute or two, without a GPU: render, segment, audit, score and draw synthetic videos.

    The checkpoint in the box does it; it knows simple coloured shapes, not the world. Scores need truth, so a video of
    your own is segmented and drawn only.

    \b
    rvos demo --out /tmp/rvos-demo
    rvos demo --video clip.mp4 --expression "the red circle"
    """

    out: str = option(default="rvos-demo", is_path=True, help="Folder to write everything to.")
    video: str | None = option(default=None, is_path=True, help="Your own video file, or folder of frames.")
    expression: str | None = option(default=None, help="What to find in --video.")

    def __post_init__(self) -> None:
        if (self.video is None) != (self.expression is None):
            raise InputError("--video and --expression go together")
