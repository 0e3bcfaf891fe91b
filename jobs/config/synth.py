"""Options of `rvos synth`."""

import re

from jobs.config.options import command_config, option
from schemas.errors import InputError

SPLITS = ("train", "val", "test")
FOCUSES = ("appearance", "size", "motion", "position", "relation", "absence")
RANGE = re.compile(r"(\d+)(?::(\d+))?")
LEAST_SIDE, MOST_SHAPES = 64, 8
MOST_PIXELS = 2**28  # of one video: it is drawn in memory, a mask for each shape


@command_config
class SynthConfig:
    """Make a synthetic data set: videos of moving shapes, sentences true of one of them, exact masks, attributes.

    \b
    rvos synth --out shapes/train --videos 2000
    rvos synth --out shapes/test --videos 150 --split test --frames 12
    """

    out: str = option(is_path=True, help="New folder for videos/, manifest.parquet and annotations.parquet.")
    videos: int = option(default=100, least=1, help="How many.")
    split: str = option(
        default="train",
        choices=SPLITS,
        help="They differ in scenes and backgrounds; val and test also show looks that train never does.",
    )
    frames: str = option(default="8:16", metavar="N|LEAST:MOST", help="Frames of a video.")
    shapes: str = option(default="2:5", metavar="N|LEAST:MOST", help="Shapes in a video.")
    height: int = option(default=96, help="Height of the videos in pixels, an even number.")
    width: int = option(default=128, help="Width of the videos in pixels, an even number.")
    expressions: int = option(default=3, least=1, help="Sentences, at most.")
    focus: str | None = option(
        default=None,
        choices=FOCUSES,
        help="All scenes and, while there are some, all sentences of this kind.  [default: each in turn]",
    )
    no_target: bool = option(default=False, help="One more sentence for each video, about a shape that is not there.")
    seed: int = option(default=0, least=0, help="Everything follows from it.")

    def __post_init__(self) -> None:
        from pipeline.datasets.synthetic.shape_scenes import FEWEST_FRAMES, STILL_FOCUSES

        if self.split not in SPLITS:
            raise InputError(f"--split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        for name, side in (("--height", self.height), ("--width", self.width)):
            if side < LEAST_SIDE or side % 2:
                raise InputError(f"{name} must be an even number of at least {LEAST_SIDE} pixels, got {side}")
        least, most = self.frame_range
        _ = self.shape_range
        if self.height * self.width * most > MOST_PIXELS:
            raise InputError(
                f"{most} frames of {self.width}x{self.height} are more than the {MOST_PIXELS:,} pixels that a video "
                "may have; ask for fewer --frames, or smaller ones"
            )
        if self.focus is not None and self.focus not in FOCUSES:
            raise InputError(f"--focus must be one of {', '.join(FOCUSES)}, got {self.focus}")
        if self.focus in FOCUSES and self.focus not in STILL_FOCUSES and least < FEWEST_FRAMES:
            raise InputError(f"--focus {self.focus} needs videos of {FEWEST_FRAMES} frames or more, got {self.frames}")

    @property
    def frame_range(self) -> tuple[int, int]:
        """`--frames` as two numbers."""
        return _range("--frames", self.frames, 1, 10_000)

    @property
    def shape_range(self) -> tuple[int, int]:
        """`--shapes` as two numbers."""
        return _range("--shapes", self.shapes, 2, MOST_SHAPES)


def _range(option: str, text: str, least: int, most: int) -> tuple[int, int]:
    """ "8" or "8:16" as two numbers."""
    found = RANGE.fullmatch(text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (found and least <= low <= high <= most):
        raise InputError(f"{option} must be a number or two as in 3:5, from {least} to {most}, got {text!r}")
    return low, high
