"""`rvos synth`: a synthetic data set of moving shapes, with sentences, exact masks and attributes."""

import re
from dataclasses import asdict, dataclass

from pipeline.datasets.synthetic.shape_scenes import FEWEST_FRAMES, FOCUSES, STILL_FOCUSES
from pipeline.datasets.synthetic.synthetic import SPLITS, SyntheticVideos
from pipeline.io import storage
from schemas.errors import InputError

RANGE = re.compile(r"(\d+)(?::(\d+))?")
LEAST_SIDE, MOST_SHAPES = 64, 8
MOST_PIXELS = 2**28  # of one video: it is drawn in memory, a mask for each shape


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthConfig:
    """Options of `rvos synth`; see its help for each."""

    out: str
    videos: int = 100
    split: str = "train"
    frames: str = "8:16"
    shapes: str = "2:5"
    height: int = 96
    width: int = 128
    expressions: int = 3
    focus: str | None = None
    no_target: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"--split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        for name, side in (("--height", self.height), ("--width", self.width)):
            if side < LEAST_SIDE or side % 2:
                raise InputError(f"{name} must be an even number of at least {LEAST_SIDE} pixels, got {side}")
        least, most = _range("--frames", self.frames, 1, 10_000)
        if self.height * self.width * most > MOST_PIXELS:
            raise InputError(
                f"{most} frames of {self.width}x{self.height} are more than the {MOST_PIXELS:,} pixels that a video "
                "may have; ask for fewer --frames, or smaller ones"
            )
        if self.focus is not None and self.focus not in FOCUSES:
            raise InputError(f"--focus must be one of {', '.join(FOCUSES)}, got {self.focus}")
        if self.focus in FOCUSES and self.focus not in STILL_FOCUSES and least < FEWEST_FRAMES:
            raise InputError(f"--focus {self.focus} needs videos of {FEWEST_FRAMES} frames or more, got {self.frames}")
        _range("--shapes", self.shapes, 2, MOST_SHAPES)

    def data_set(self) -> SyntheticVideos:
        return SyntheticVideos(
            videos=self.videos,
            split=self.split,
            height=self.height,
            width=self.width,
            frames=_range("--frames", self.frames, 1, 10_000),
            shapes=_range("--shapes", self.shapes, 2, MOST_SHAPES),
            expressions=self.expressions,
            focus=self.focus,
            no_target=self.no_target,
            seed=self.seed,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SynthResult:
    """What was written."""

    manifest: str
    annotations: str
    videos: int
    pairs: int
    kinds: dict[str, int]  # sentences by what they tell shapes apart by

    def to_json(self) -> dict:
        return asdict(self)

    def text(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        return "\n".join(
            [
                f"manifest     {self.manifest}",
                f"annotations  {self.annotations}",
                f"{self.pairs} sentences in {self.videos} videos: {kinds}",
            ]
        )


def run(config: SynthConfig) -> SynthResult:
    """Render everything. Raises InputError if there is something in `out` already."""
    out = storage.absolute(config.out)
    if storage.is_folder(out) and storage.names(out):
        raise InputError(f"{out} is not empty; give a new folder")
    manifest, annotations, kinds = config.data_set().write(out)
    return SynthResult(
        manifest=manifest, annotations=annotations, videos=config.videos, pairs=kinds.total(), kinds=dict(kinds)
    )


def _range(option: str, text: str, least: int, most: int) -> tuple[int, int]:
    """ "8" or "8:16" as two numbers."""
    found = RANGE.fullmatch(text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not (found and least <= low <= high <= most):
        raise InputError(f"{option} must be a number or two as in 3:5, from {least} to {most}, got {text!r}")
    return low, high
