"""Options of `rvos segment`."""

import re

from jobs.config.options import argument, cluster_address, command_config, finish_command, option
from jobs.config.run_options import NO_CHECKPOINT, RunOptions
from model.bundled import BUNDLED
from pipeline.evaluation.protocols import RULES
from pipeline.evaluation.rules import Rules
from pipeline.runs.shard import Shard
from schemas import kinds
from schemas.errors import FAILURES, InputError
from schemas.uri import scheme_of

NO_RULES = Rules(source="", window="36", short_side=None)  # the defaults of a run
ACTORS = re.compile(r"[1-9]\d{0,4}(:[1-9]\d{0,4})?")


@command_config
class SegmentConfig(RunOptions):
    """Segment every pair of a manifest: one RLE mask per frame.

    Segments every pair (a video and a sentence) that MANIFEST lists, and writes the masks to the folder RUN. After an
    interruption, repeat the command: finished work is kept. Failed pairs are not tried again unless --retry-errors is
    given.

        rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/
        rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/ --retry-errors
        rvos segment data/manifest.parquet runs/davis --checkpoint checkpoint/ --rules ref-davis17
        rvos segment s3://b/manifest.parquet s3://b/runs/1 --checkpoint s3://b/ckpt --address auto --actors 16
        rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/ --shard 3/8
    """

    manifest: str = argument(takes=kinds.MANIFEST)
    run: str = argument(takes=kinds.NEW_RUN)
    strict: bool = option(
        default=False,
        heading="What to segment",
        help="Check all rows, and the header and first frame of each video, before the start; end if there is a "
        "problem.",
    )
    allow_short: bool = option(
        default=False,
        heading="What to segment",
        help="Segment the readable part of a truncated or damaged video.",
    )
    threshold: float = option(
        default=0.5, heading="Model", help="A pixel belongs to the mask if its probability is above X."
    )
    no_target_below: float | None = option(
        default=None,
        least=0,
        most=1,
        metavar="X",
        heading="Model",
        help="Write empty masks for pairs whose presence (the predicted probability that the expression "
        "describes something in the video) is below X. 0 keeps all masks. For checkpoints with a quality head only.  "
        "[default: from the checkpoint]",
    )
    max_whole_frames: int = option(
        default=300,
        least=1,
        heading="Frames",
        help="With --window whole: maximum number of frames of a video; pairs of longer videos become error rows.",
    )
    actors: str | None = option(
        default=None,
        metavar="N|MIN:MAX",
        heading="Resources",
        help="Number of processes (actors), each with one model. With MIN:MAX, the command requests MAX processes, "
        "starts with as many as fit, and near the end stops idle ones until MIN are left.  [default: as many as the "
        "GPUs hold; without GPUs one per core, or fewer if memory or the amount of work is small]",
    )
    gpus_per_actor: float | None = option(
        default=None,
        least=0,
        heading="Resources",
        help="GPUs per process (actor); 0.5 lets two actors share a GPU.  [default: 1 if there are GPUs, else 0]",
    )
    unit_frames: int | None = option(
        default=None,
        least=1,
        heading="Resources",
        help="Approximate number of masks (one per pair and frame) in a unit; a unit is a group of pairs that is "
        "written as one file. A killed process loses at most the units that it has begun.  [default: 64 to 4096, by "
        "size of the manifest]",
    )
    unit_timeout: float | None = option(
        default=None,
        above=0,
        heading="Resources",
        help="Seconds that the model may spend on a unit (the pairs of one file). If it takes longer, the process is "
        "killed and the unit is tried again, finally pair by pair. A pair that exceeds the limit twice on its own "
        "becomes an error row.  [default: none]",
    )
    address: str = cluster_address("local", help="Ray cluster to run on.")
    shard: str | None = option(
        default=None,
        metavar="I/N",
        heading="Resources",
        help="Do only the I-th of N parts of the run. Start N commands that differ only in I, on any "
        "machines, in any order or at once; together they complete the run without a cluster.",
    )
    patience: float = option(
        default=600.0,
        above=0,
        metavar="SECONDS",
        heading="Resources",
        help="After SECONDS without a finished unit, print what the command waits for. If it can never go on, because "
        "no node is left for instance, end with exit code 3.",
    )
    retry_errors: str | None = option(
        default=None,
        value_if_bare="all",
        metavar="[STATUS,...]",
        heading="Retrying",
        help="Segment failed pairs again. To retry only some statuses, list them: --retry-errors=oom,timeout. "
        "Once no unit is left to segment, the failed pairs may be retried with other values of --allow-short, "
        "--decoder, --window, --overlap, --max-whole-frames, --short-side and --max-size.",
    )
    repair: bool = option(
        default=False,
        heading="Retrying",
        help="Read every file of masks in RUN. If one is damaged, segment its pairs again.",
    )
    unsafe_storage: bool = option(
        default=False,
        heading="Output",
        help="Create the run although two commands could overwrite each other's files on this storage. Then run "
        "only one command at a time.",
    )
    rebase: tuple[str, ...] = option(
        default=(),
        metavar="OLD=NEW",
        heading="Retrying",
        help="For videos that were moved: replace OLD by NEW where a URI begins with OLD. OLD is what the manifest "
        "said when the run was planned. Repeatable.",
    )
    new_run: str | None = option(
        default=None,
        metavar="DIR",
        takes=kinds.NEW_RUN,
        heading="Retrying",
        help="If the weights, or options that affect masks, differ from those of RUN, write to DIR instead of failing.",
    )
    on_finish: str | None = finish_command("RUN")
    dry_run: bool = option(
        default=False, heading="Output", help="Check all inputs and print the work to do; write nothing."
    )

    def __post_init__(self) -> None:
        places = (self.manifest, self.run, self.new_run or "")
        if self.checkpoint is None and (self.address != "local" or any(map(scheme_of, places))):
            raise InputError(NO_CHECKPOINT)
        for name in ("window", "short_side", "max_size", "candidates"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.published, name))
        assert self.window is not None
        if self.window != "whole" and not re.fullmatch("0*[1-9][0-9]{0,8}", self.window):
            raise InputError(f"--window must be a whole number of frames, at least 1, or 'whole'; got {self.window!r}")
        if self.overlap and self.window == "whole":
            raise InputError("--overlap needs --window N; '--window whole' has one window only")
        if not 0 <= self.overlap < (self.window_frames or 1):
            raise InputError(f"--overlap must be at least 0 and below --window {self.window}, got {self.overlap}")
        if self.published.context and (self.window == "whole" or self.overlap):
            raise InputError(f"--rules {self.rules} needs --window N without --overlap: a sample is one window")
        if self.candidates == "all" and (self.overlap or self.published.exclusive):
            other = "--overlap follows" if self.overlap else f"--rules {self.rules} merges the masks of"
            raise InputError(f"--candidates all: {other} the chosen object only; leave one of them out")
        if not 0 < self.threshold < 1:
            raise InputError(f"--threshold must be between 0 and 1, got {self.threshold}")
        if self.actors is not None and not (ACTORS.fullmatch(self.actors) and self.pool_size == sorted(self.pool_size)):
            rule = "a whole number of at least 1, or MIN:MAX with MIN not above MAX, as in 1:16"
            raise InputError(f"--actors must be {rule}; got {self.actors!r}")
        if wrong := [text for text in self.rebase if not all(text.partition("="))]:
            raise InputError(f"--rebase must be OLD=NEW, got {wrong[0]!r}")
        if self.shard is not None:
            Shard.parse(self.shard)
        if unknown := set(self.retry_statuses) - set(FAILURES):
            raise InputError(
                f"--retry-errors {', '.join(sorted(unknown))}: choose from {', '.join(FAILURES)}, separated by commas, "
                "or give no status to retry all failed pairs"
            )

    @property
    def published(self) -> Rules:
        """The rules that --rules names; without it, the defaults of a run."""
        return RULES[self.rules] if self.rules else NO_RULES

    @property
    def differences(self) -> dict[str, dict]:
        """Options that differ from the published rules: their values in both."""
        if not self.rules:
            return {}
        wanted = {name: getattr(self.published, name) for name in ("window", "short_side", "max_size", "candidates")}
        wanted |= {"overlap": 0, "threshold": 0.5, "frame_step": 1, "precision": "fp32", "allow_short": False}
        return {
            name: {"published": value, "run": getattr(self, name)}
            for name, value in wanted.items()
            if getattr(self, name) != value
        }

    @property
    def window_frames(self) -> int | None:
        """Frames of one window; None for the whole video."""
        return None if self.window == "whole" else int(self.window or NO_RULES.window)

    @property
    def most_frames(self) -> int:
        """The most frames that the model sees at once."""
        return self.window_frames or self.max_whole_frames

    @property
    def passes(self) -> float:
        """Times that the model sees a frame of a long video: more than 1 if windows overlap."""
        window = self.window_frames
        return window / (window - self.overlap) if window else 1.0

    @property
    def retry_statuses(self) -> tuple[str, ...]:
        """Statuses of the pairs to segment again."""
        if self.retry_errors is None:
            return ()
        return FAILURES if self.retry_errors == "all" else tuple(self.retry_errors.split(","))

    @property
    def moves(self) -> list[tuple[str, str]]:
        """The pairs of --rebase: the start of planned URIs, and what to read in place of it."""
        return [(old, new) for old, _, new in (text.partition("=") for text in self.rebase)]

    @property
    def share(self) -> Shard:
        """The part of the run to segment."""
        return Shard.parse(self.shard) if self.shard else Shard()

    @property
    def is_bundled(self) -> bool:
        """True if the bundled checkpoint is used."""
        return self.checkpoint in (None, BUNDLED)

    @property
    def pool_size(self) -> list[int]:
        """The one or two numbers of --actors; empty if it is not given."""
        return [int(number) for number in (self.actors or "").split(":") if number]
