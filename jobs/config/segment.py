"""Options of `rvos segment`."""

import re

from jobs.config.options import argument, command_config, option
from jobs.config.run_options import RunOptions
from model.bundled import BUNDLED
from schemas.errors import FAILURES, InputError

ACTORS = re.compile(r"[1-9]\d{0,4}(:[1-9]\d{0,4})?")


@command_config
class SegmentConfig(RunOptions):
    """Write one RLE mask per frame for each pair of MANIFEST into the folder RUN.

    Repeat the command to go on after an interruption: what is committed is not done again. Pairs that failed stay so
    until --retry-errors.

    \b
    rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/
    rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/ --retry-errors
    rvos segment s3://b/manifest.parquet s3://b/runs/1 --checkpoint s3://b/ckpt --address auto --actors 16
    """

    manifest: str = argument(is_path=True)
    run: str = argument(is_path=True)
    new_run: str | None = option(
        default=None,
        metavar="DIR",
        is_path=True,
        help="Where to write instead if RUN was made with other weights or options.",
    )
    retry_errors: str | None = option(
        default=None,
        value_if_bare="all",
        metavar="[CLASS,...]",
        help="Do failed pairs again: all, or those of some classes, as in --retry-errors=oom,timeout.",
    )
    strict: bool = option(default=False, help="Refuse to start if any row is bad or any video cannot be opened.")
    allow_short: bool = option(default=False, help="Segment what can be read of a video that is shorter than promised.")
    max_whole_frames: int = option(default=300, least=1, help="With --window whole: longer videos become error rows.")
    threshold: float = option(default=0.5, help="A pixel is in the mask above this probability.")
    actors: str | None = option(
        default=None, metavar="N|LEAST:MOST", help="Models at work at once.  [default: one per GPU, else 1]"
    )
    gpus_per_actor: float | None = option(
        default=None, least=0, help="GPU share of an actor.  [default: 1 where there are GPUs]"
    )
    unit_frames: int | None = option(
        default=None,
        least=1,
        help="Pair-frames of one unit of work, what is lost by a kill.  [default: 64 to 4096, by the manifest's size]",
    )
    unit_timeout: float | None = option(
        default=None, above=0, help="Seconds after which a unit of work counts as hanging.  [default: none]"
    )
    address: str = option(default="local", metavar="local|auto|HOST:PORT", help="Ray cluster.")
    dry_run: bool = option(default=False, help="Check everything, say what there would be to do, and write nothing.")

    def __post_init__(self) -> None:
        if self.window != "whole" and not (self.window.isdigit() and int(self.window) > 0):
            raise InputError(f"--window must be a number of frames or 'whole', got {self.window!r}")
        if self.overlap and self.window == "whole":
            raise InputError("--overlap is for windows of a number of frames; '--window whole' has one window only")
        if not 0 <= self.overlap < (self.window_frames or 1):
            raise InputError(f"--overlap must be at least 0 and below --window {self.window}, got {self.overlap}")
        if not 0 < self.threshold < 1:
            raise InputError(f"--threshold must lie between 0 and 1, got {self.threshold}")
        if self.actors is not None and not (ACTORS.fullmatch(self.actors) and self.pool_size == sorted(self.pool_size)):
            raise InputError(f"--actors must be a number, or least and most as in 1:16, got {self.actors!r}")

        if unknown := set(self.again) - set(FAILURES):
            raise InputError(
                f"--retry-errors {', '.join(sorted(unknown))}: choose among {', '.join(FAILURES)} "
                "(several with commas), or give no class for all of them"
            )

    @property
    def window_frames(self) -> int | None:
        """Frames of one window; None for the whole video."""
        return None if self.window == "whole" else int(self.window)

    @property
    def again(self) -> tuple[str, ...]:
        """Statuses of the pairs that are to be done again."""
        if self.retry_errors is None:
            return ()
        return FAILURES if self.retry_errors == "all" else tuple(self.retry_errors.split(","))

    @property
    def embedded(self) -> bool:
        """Whether the bundled checkpoint is used."""
        return self.checkpoint == BUNDLED

    @property
    def pool_size(self) -> list[int]:
        """The one or two numbers of `--actors`; none if it is not given."""
        return [int(number) for number in (self.actors or "").split(":") if number]

    @property
    def passes(self) -> float:
        """How often the model sees a frame of a long video: more than once where windows share frames."""
        window = self.window_frames
        return window / (window - self.overlap) if window else 1.0
