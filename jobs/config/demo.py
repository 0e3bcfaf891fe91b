"""Options of `rvos demo`."""

from jobs.config.options import command_config, option
from schemas.errors import InputError


@command_config
class DemoConfig:
    """Try everything on synthetic videos, in a minute or two.

    Render videos, segment them with the bundled checkpoint, audit, score and draw the masks; no GPU is needed. The
    bundled checkpoint knows simple coloured shapes only. A video of your own is segmented and drawn, but not scored.

        rvos demo --out /tmp/rvos-demo
        rvos demo --video clip.mp4 --expression "the red circle"
    """

    out: str = option(
        default="rvos-demo", is_path=True, help="Folder to write to: a new one, or that of an earlier demo."
    )
    video: str | None = option(default=None, is_path=True, help="Your own video file or folder of frames.")
    expression: str | None = option(default=None, help="Expression to segment in --video.")

    def __post_init__(self) -> None:
        if (self.video is None) != (self.expression is None):
            raise InputError("--video and --expression need each other; give both or none")
