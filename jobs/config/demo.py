"""Options of `rvos demo`."""

from jobs.config.options import command_config, option
from schemas.errors import InputError


@command_config
class DemoConfig:
    """Try everything on synthetic videos, in a minute or two.

    Renders videos, segments them with the bundled checkpoint, and audits, scores and draws the masks. Needs no GPU. The
    bundled checkpoint knows simple coloured shapes only. Your own --video is segmented and drawn, but not scored.

        rvos demo --out /tmp/rvos-demo
        rvos demo --video clip.mp4 --expression "the red circle"
    """

    out: str = option(
        default="rvos-demo", is_path=True, help="Folder to write to: a new one, or the folder of an earlier demo."
    )
    video: str | None = option(default=None, is_path=True, help="Your own video file or folder of frames.")
    expression: str | None = option(default=None, help="Expression to segment in --video.")

    def __post_init__(self) -> None:
        if (self.video is None) != (self.expression is None):
            raise InputError("got only one of --video and --expression; give both or none")
