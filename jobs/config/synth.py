"""Options of `rvos synth`."""

import re

from jobs.config.options import command_config, option
from pipeline.datasets.synthetic.kinds import FEWEST_FRAMES, FOCUSES, SPLITS, STILL_FOCUSES
from schemas import kinds
from schemas.errors import InputError

MOST_PIXELS = 2**28  # of one video, which is drawn in memory with a mask for each shape


@command_config
class SynthConfig:
    """Make a synthetic data set of moving shapes.

    Writes videos, exact masks, attributes, and expressions that each fit exactly one shape.

        rvos synth --out shapes/train --videos 2000
        rvos synth --out shapes/test --videos 150 --split test --frames 12
    """

    out: str = option(
        takes=kinds.NEW_FOLDER, help="New or empty folder for videos/, manifest.parquet and annotations.parquet."
    )
    videos: int = option(default=100, least=1, help="Number of videos.")
    split: str = option(
        default="train",
        choices=SPLITS,
        help="Splits differ in scenes and backgrounds; val and test also have combinations of shape and colour that "
        "train never shows.",
    )
    frames: str = option(default="8:16", metavar="N|MIN:MAX", help="Frames per video.")
    shapes: str = option(default="2:5", metavar="N|MIN:MAX", help="Shapes per video, 2 to 8.")
    height: int = option(default=96, help="Height of the videos in pixels, even, at least 64.")
    width: int = option(default=128, help="Width of the videos in pixels, even, at least 64.")
    expressions: int = option(default=3, least=1, help="Maximum number of expressions per video.")
    focus: str | None = option(
        default=None,
        choices=FOCUSES,
        help="Build every scene so that it allows expressions of this kind, and choose expressions of this kind "
        "first.  [default: all kinds in turn]",
    )
    no_target: bool = option(
        default=False,
        help="Also add, for each video, an expression about a shape that is not in it.",
    )
    seed: int = option(default=0, least=0, help="Seed of all random choices.")

    def __post_init__(self) -> None:
        for name, side in (("--height", self.height), ("--width", self.width)):
            if side < 64 or side % 2:
                raise InputError(f"{name} must be an even number of at least 64 pixels, got {side}")
        least, most = self.frame_range
        _ = self.shape_range
        if self.height * self.width * most > MOST_PIXELS:
            raise InputError(
                f"{most} frames of {self.width}x{self.height} exceed the limit of {MOST_PIXELS:,} pixels per video; "
                "use fewer --frames or smaller ones"
            )
        if self.focus is not None and self.focus not in STILL_FOCUSES and least < FEWEST_FRAMES:
            raise InputError(f"--focus {self.focus} needs --frames of at least {FEWEST_FRAMES}, got {self.frames}")

    @property
    def frame_range(self) -> tuple[int, int]:
        """The smallest and largest number of frames."""
        return parse_range("--frames", self.frames, 1, 10_000)

    @property
    def shape_range(self) -> tuple[int, int]:
        """The smallest and largest number of shapes."""
        return parse_range("--shapes", self.shapes, 2, 8)


def parse_range(option: str, text: str, least: int, most: int) -> tuple[int, int]:
    """Return "8" or "8:16" as two numbers. Raises InputError outside `least` to `most`."""
    found = re.fullmatch(r"(\d+)(?::(\d+))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (found and least <= low <= high <= most):
        raise InputError(f"{option} must be a number or a range as in 3:5, from {least} to {most}, got {text!r}")
    return low, high
