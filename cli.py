"""The command `rvos`: a thin skin over jobs/. Everything heavy is imported inside the command that needs it."""

import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click

from schemas.errors import InfrastructureError, RvosError
from schemas.version import __version__

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
PUBLISHED_BACKBONES = [
    *("resnet50", "resnet101"),
    *("swin_t_p4w7", "swin_s_p4w7", "swin_b_p4w7", "swin_l_p4w7"),
    *("video_swin_t_p4w7", "video_swin_s_p4w7", "video_swin_b_p4w7"),
]
DATA_SETS = [
    *("ref-youtube-vos", "ref-davis17", "davis", "mevis", "mevis-v2", "a2d", "jhmdb", "revos", "long-rvos"),
    *("coco-video", "folder"),
]
PROTOCOLS = [
    *("all-frames", "davis-semisupervised", "ref-davis17", "ref-davis17-strict", "ref-youtube-vos"),
    *("mevis", "a2d", "jhmdb", "revos", "long-rvos"),
]
SERVERS = ["ref-youtube-vos", "mevis", "mevis-v2"]
RETRY = "--retry-errors"


def together(*options: Callable) -> Callable:
    """Several options as one decorator, shown in this order."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


# What a run is made of, and so what it takes to plan one.
RUN_OPTIONS = together(
    click.option(
        "--checkpoint",
        default="tiny",
        show_default=True,
        help="Checkpoint folder, as 'rvos convert' or 'rvos train' makes it; local or s3://. 'tiny' is the one in the "
        "box: it knows simple coloured shapes, not the world.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first N pairs of the manifest."),
    click.option(
        "--window",
        default="36",
        show_default=True,
        metavar="N|whole",
        help="Frames of one model call, or all of the video.",
    ),
    click.option(
        "--overlap",
        default=0,
        show_default=True,
        type=click.IntRange(min=0),
        metavar="M",
        help="Frames that each window shares with the next, below --window: the object is followed from one to the "
        "other, and shared frames take the mean of both.",
    ),
    click.option(
        "--short-side",
        type=click.IntRange(min=32),
        help="Model input: shorter side.  [default: 360; 96 for the checkpoint in the box]",
    ),
    click.option(
        "--max-size", type=click.IntRange(min=32), help="Model input: limit of the longer side.  [default: none]"
    ),
    click.option(
        "--frame-step",
        default=1,
        show_default=True,
        type=click.IntRange(min=1),
        help="Every n-th frame, for rows that list no frames.",
    ),
    click.option(
        "--assume-frames",
        default=100,
        show_default=True,
        type=click.IntRange(min=1),
        help="Length of a video for planning, where the manifest does not tell it.",
    ),
    click.option(
        "--precision",
        default="fp32",
        show_default=True,
        type=click.Choice(["fp32", "bf16", "fp16"]),
        help="Of the model's matrix products. What is faster than fp32 is compared with it on the first unit of each "
        "actor, and refused if more than 2 % of the masks' pixels differ.",
    ),
    click.option(
        "--compile",
        is_flag=True,
        help="Have torch compile the model at the start (takes minutes, and a C++ compiler); compared likewise.",
    ),
    click.option(
        "--decoder",
        default="pyav",
        show_default=True,
        type=click.Choice(["pyav", "decord"]),
        help="Library that reads video files.",
    ),
    click.option(
        "--device",
        default="auto",
        show_default=True,
        type=click.Choice(["auto", "cpu", "cuda"]),
        help="auto: CUDA where there is a GPU, else CPU.",
    ),
)


class Failure(click.ClickException):
    """An error that the user can act on: its text alone, and its exit code."""

    def __init__(self, error: RvosError):
        super().__init__(str(error))
        self.exit_code = error.exit_code


def run_job(
    module: str,
    config_class: str,
    options: dict[str, Any],
    *,
    title: str | None = None,
    show: Callable[[str], None] | None = None,
) -> None:
    """Build the job's config from the options, run it, print its result, and exit with its code.

    The only place where errors become messages. `title` names a job that reports its progress; `show` is what a job
    with text of its own gives it to.
    """
    as_json = options.pop("as_json", False)
    handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        job = importlib.import_module(f"jobs.{module}")
        config = getattr(job, config_class)(**options)
        if title:
            result = _run_with_progress(job.run, config, title)
        else:
            result = job.run(config, show) if show else job.run(config)
    except RvosError as error:
        raise Failure(error) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise Failure(InfrastructureError(f"{error.strerror or error}{where}")) from None
    except KeyboardInterrupt as interrupt:
        click.echo("Interrupted. What is finished is kept; repeat the command to go on.", err=True)
        sys.exit(128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    click.echo(json.dumps(result.to_json(), indent=2) if as_json else result.text())
    sys.exit(getattr(result, "exit_code", 0))


class Interrupted(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM (a node that is taken away): `number` says which."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def _interrupt(number: int, frame: object) -> NoReturn:
    """The first signal ends the job in order, the second one the process at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda again, _: os._exit(128 + again))
    raise Interrupted(number)


def _run_with_progress(run: Callable, config: object, title: str) -> Any:
    from jobs.terminal import progress

    with progress.show(title) as show:
        return run(config, show)


def explain_protocol(context: click.Context, _: click.Parameter, name: str | None) -> None:
    """Print what `rvos evaluate --explain NAME` is asked for, and end."""
    if name is not None:
        click.echo(importlib.import_module("jobs.explain").explain(name))
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rvos")
def main() -> None:
    """Referring video object segmentation over large corpora.

    Videos and sentences in, one RLE mask per frame out (Parquet), scored by J&F.

    \b
    rvos import ref-youtube-vos DAVIS/ --out data/
    rvos convert refdavis.pth --backbone resnet50 --tokenizer roberta-base/ --out checkpoint/
    rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/
    rvos evaluate runs/first data/annotations.parquet --out scores/ --by annotator

    \b
    Exit codes: 0 all well, 1 some pairs failed or a check found problems, 2 wrong use or bad input,
    3 storage or cluster failed, 130 or 143 interrupted.
    """


@main.command()
@click.option("--out", default="rvos-demo", show_default=True, help="Folder to write everything to.")
@click.option("--video", help="Your own video file, or folder of frames.")
@click.option("--expression", help="What to find in --video.")
@JSON_OPTION
def demo(**options: Any) -> None:
    """The whole product in a minute or two, without a GPU: render, segment, audit, score and draw synthetic videos.

    The checkpoint in the box does it; it knows simple coloured shapes, not the world. Scores need truth, so a video of
    your own is segmented and drawn only.

    \b
    rvos demo --out /tmp/rvos-demo
    rvos demo --video clip.mp4 --expression "the red circle"
    """
    run_job("demo", "DemoConfig", options)


@main.command("import")
@click.argument("dataset", type=click.Choice(DATA_SETS), metavar="DATASET")
@click.argument("root")
@click.option("--out", required=True, help="Folder for manifest.parquet, annotations.parquet and so on.")
@click.option("--split", help="Split of the published layout: train, valid, 2017/val ...; a wrong one lists them.")
@click.option("--expressions", metavar="FILE", help="folder: sentences as .csv, .jsonl or .txt, local or s3://.")
@click.option(
    "--context",
    type=click.IntRange(min=1),
    help="a2d, jhmdb: a pair for each annotated frame, in the middle of so many (published: 5).",
)
@JSON_OPTION
def import_(**options: Any) -> None:
    """Turn the data set in the folder ROOT into a manifest, and its masks into annotations.

    DATASET says what ROOT looks like: ref-youtube-vos, ref-davis17, davis, mevis, mevis-v2, a2d, jhmdb, revos,
    long-rvos, coco-video (the form of YouTube-VIS), or folder: any tree of videos, with a file of sentences. What is
    found is counted beside what the authors of the set say.

    \b
    rvos import ref-youtube-vos /data/ref-youtube-vos --split valid --out data/
    rvos import mevis s3://bucket/mevis --split valid_u --out s3://bucket/manifests/mevis
    rvos import a2d /data/a2d_sentences --split test --context 5 --out data/
    rvos import folder /data/clips --expressions sentences.csv --out data/

    \b
    sentences.csv    expression, and if wanted video (its path below ROOT; without: for all videos),
                     expression_id, and any attributes
    sentences.txt    one sentence in each line, for all videos
    """
    run_job("import_dataset", "ImportConfig", options)


@main.command()
@click.argument("manifest")
@click.option("--write", is_flag=True, help="Add num_frames to the manifest, so that planning knows the lengths.")
@JSON_OPTION
def check(**options: Any) -> None:
    """Check a MANIFEST and open each of its videos (headers only); report all problems at once.

    \b
    rvos check data/manifest.parquet
    rvos check s3://bucket/manifest.parquet --write --json
    """
    run_job("check", "CheckConfig", options)


@main.command()
@click.argument("checkpoint")
@click.option("--backbone", required=True, type=click.Choice(PUBLISHED_BACKBONES), help="Backbone it was trained with.")
@click.option("--tokenizer", required=True, help="Folder with roberta-base's vocab.json and merges.txt.")
@click.option("--out", required=True, help="New folder for config.json, model.safetensors and the tokenizer.")
@JSON_OPTION
def convert(**options: Any) -> None:
    """Turn a published CHECKPOINT (.pth) into a checkpoint folder; no code in the file is run.

    \b
    rvos convert ytvos_joint_resnet50.pth --backbone resnet50 --tokenizer roberta-base/ --out checkpoint/
    """
    run_job("convert", "ConvertConfig", options)


class SegmentCommand(click.Command):
    """`--retry-errors` takes the word after it only if that is classes of errors, so that MANIFEST may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [*_retry_alone(args)] if RETRY in args else args)


def _retry_alone(args: list[str]) -> Iterator[str]:
    from schemas.masks import STATUSES

    for word, following in zip(args, [*args[1:], ""], strict=True):
        is_alone = word == RETRY and not {*following.split(",")} <= {"all", *STATUSES}
        yield f"{RETRY}=all" if is_alone else word


@main.command(cls=SegmentCommand)
@click.argument("manifest")
@click.argument("run")
@RUN_OPTIONS
@click.option("--new-run", metavar="DIR", help="Where to write instead if RUN was made with other weights or options.")
@click.option(
    RETRY,
    is_flag=False,
    flag_value="all",
    metavar="[CLASS,...]",
    help="Do failed pairs again: all, or those of some classes, as in --retry-errors=oom,timeout.",
)
@click.option("--strict", is_flag=True, help="Refuse to start if any row is bad or any video cannot be opened.")
@click.option("--allow-short", is_flag=True, help="Segment what can be read of a video that is shorter than promised.")
@click.option(
    "--max-whole-frames",
    default=300,
    show_default=True,
    type=click.IntRange(min=1),
    help="With --window whole: longer videos become error rows.",
)
@click.option("--threshold", default=0.5, show_default=True, help="A pixel is in the mask above this probability.")
@click.option("--actors", metavar="N|LEAST:MOST", help="Models at work at once.  [default: one per GPU, else 1]")
@click.option(
    "--gpus-per-actor", type=click.FloatRange(min=0), help="GPU share of an actor.  [default: 1 where there are GPUs]"
)
@click.option(
    "--on-oom",
    default="error",
    show_default=True,
    type=click.Choice(["error", "reduce-window"]),
    help="Out of memory: an error row, or halves of the window (the rows say which was used).",
)
@click.option(
    "--unit-frames",
    type=click.IntRange(min=1),
    help="Pair-frames of one unit of work, what is lost by a kill.  [default: 64 to 4096, by the manifest's size]",
)
@click.option(
    "--unit-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds after which a unit of work counts as hanging.  [default: none]",
)
@click.option("--address", default="local", show_default=True, metavar="local|auto|HOST:PORT", help="Ray cluster.")
@click.option("--dry-run", is_flag=True, help="Check everything, say what there would be to do, and write nothing.")
@JSON_OPTION
def segment(**options: Any) -> None:
    """Write one RLE mask per frame for each pair of MANIFEST into the folder RUN.

    Repeat the command to go on after an interruption: what is committed is not done again. Pairs that failed stay so
    until --retry-errors.

    \b
    rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/
    rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/ --retry-errors
    rvos segment s3://b/manifest.parquet s3://b/runs/1 --checkpoint s3://b/ckpt --address auto --actors 16
    """
    if options["dry_run"]:
        run_job("dry_run", "SegmentConfig", options)
    run_job("segment", "SegmentConfig", options, title="segment")


@main.command()
@click.argument("manifest")
@RUN_OPTIONS
@click.option(
    "--frames-per-second",
    type=click.FloatRange(min=0, min_open=True),
    help="Masks per second of one GPU, as 'rvos segment' reports them.  [default: measured on this machine]",
)
@click.option("--gpu", metavar="NAME", help="The GPU that --frames-per-second and --price are of, for the report.")
@click.option("--price", type=click.FloatRange(min=0), help="Price of one hour of such a machine, in any currency.")
@click.option(
    "--probe",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Videos that are opened to measure, spread over long and short ones.",
)
@JSON_OPTION
def plan(**options: Any) -> None:
    """Say what a run over MANIFEST will take: units, masks, bytes, hours and money. Nothing is written.

    A few videos are segmented here to measure; with --frames-per-second they are only decoded.

    \b
    rvos plan data/manifest.parquet --checkpoint checkpoint/
    rvos plan s3://b/manifest.parquet --checkpoint s3://b/ckpt --gpu A10G --frames-per-second 110 --price 1.0
    """
    run_job("plan", "PlanConfig", options)


@main.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, metavar="[--] COMMAND...")
@click.option("--address", required=True, metavar="http://HOST:8265", help="Job server of the cluster.")
@click.option(
    "--working-dir",
    metavar="DIR|none",
    help="Checkout whose code is sent; none: the nodes' own package.  [default: this rvos's checkout, else none]",
)
@click.option("--mounted", is_flag=True, help="Local paths in COMMAND are the same on every node (NFS, EFS).")
@click.option("--detach", is_flag=True, help="Submit and return, without following the job.")
@click.option("--status", is_flag=True, help="Say how the job of this COMMAND stands, and submit nothing.")
@click.option("--logs", is_flag=True, help="Print its log so far.")
@click.option("--stop", is_flag=True, help="Stop it; what is committed is kept.")
@JSON_OPTION
def submit(**options: Any) -> None:
    """Run COMMAND (any other command of rvos) on a Ray cluster, follow its log, and end with its exit code.

    Repeat it to follow the same job again, or to run it anew when that has ended. With --status, --logs or --stop,
    COMMAND may also be the id that submitting printed.

    \b
    rvos submit --address http://127.0.0.1:8265 -- segment s3://b/m.parquet s3://b/runs/1 --checkpoint s3://b/ckpt
    rvos submit --address http://127.0.0.1:8265 --stop rvos-segment-1-0a1b2c3d
    """
    from jobs.terminal.command_line import spell_out

    words = options["command"]
    asks = options["status"] or options["logs"] or options["stop"]
    if not (asks and len(words) == 1 and words[0].startswith("rvos-")):
        options["command"] = spell_out(main, words)
    run_job("submit", "SubmitConfig", options, show=lambda text: click.echo(text, err=True, nl=False))


@main.command()
@click.argument("run")
@JSON_OPTION
def status(**options: Any) -> None:
    """Show how far RUN is, from its folder alone: pairs done, failed, pace and time to go.

    \b
    rvos status s3://bucket/runs/first
    """
    run_job("status", "StatusConfig", options)


@main.command()
@click.argument("run")
@click.option("--out", required=True, help="New folder for the data set, local or s3://.")
@JSON_OPTION
def compact(**options: Any) -> None:
    """Write the masks of the finished RUN as few Parquet files of about 128 MB, sorted by video.

    RUN stays as it is. 'rvos audit RUN --compacted DIR' compares the two.

    \b
    rvos compact s3://bucket/runs/first --out s3://bucket/masks/first
    """
    run_job("compact", "CompactConfig", options)


@main.command()
@click.argument("run")
@click.option("--manifest", help="Also check that the plan holds each pair of this manifest, and no other.")
@click.option("--compacted", metavar="DIR", help="Also check that what 'rvos compact' wrote to DIR equals the run.")
@JSON_OPTION
def audit(**options: Any) -> None:
    """Check that every pair of RUN is there exactly once; writes RUN/_SUCCESS if so.

    Exit code 1 if pairs are missing, doubled or not of the plan, or units stale or unreadable.

    \b
    rvos audit runs/first --manifest data/manifest.parquet
    """
    run_job("audit", "AuditConfig", options)


@main.command()
@click.argument("predictions")
@click.argument("annotations")
@click.option("--out", required=True, help="Folder for scores.parquet, frame_scores.parquet and summary.json.")
@click.option("--manifest", help="Manifest that names objects and attributes.  [default: the run's own]")
@click.option(
    "--protocol", default="all-frames", show_default=True, type=click.Choice(PROTOCOLS), help="What counts, and how."
)
@click.option(
    "--by",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Break scores down: a manifest column, or object_size, motion, disappears, track_length, touches_border, "
    "words, expressions_per_video; size:q4 for quantiles, words:4/8 for edges, a,b for both crossed; repeatable.",
)
@click.option(
    "--missing",
    type=click.Choice(["zero", "empty", "error", "skip"]),
    help="What is not predicted scores zero, counts as empty, is refused, or left out.  [default: the protocol's]",
)
@click.option("--decay-8bit", is_flag=True, help="Decay with the 8-bit frame numbers of the published DAVIS code.")
@click.option(
    "--address",
    metavar="local|auto|HOST:PORT",
    help="Ray cluster to score on.  [default: this process; local where predictions exceed 96 MiB]",
)
@click.option(
    "--explain",
    type=click.Choice(PROTOCOLS),
    is_eager=True,
    expose_value=False,
    callback=explain_protocol,
    help="Say what a protocol does, and whence it is known; nothing else is needed.",
)
@JSON_OPTION
def evaluate(**options: Any) -> None:
    """Score PREDICTIONS (a run, Parquet file or folder, or tree of PNGs) against ANNOTATIONS (Parquet or PNGs).

    \b
    rvos evaluate runs/first data/annotations.parquet --out scores/ --protocol ref-davis17 --by annotator
    rvos evaluate Results/ data/annotations.parquet --out scores/ --by object_size:q4 --by words,motion
    rvos evaluate --explain mevis
    """
    run_job("evaluate", "EvaluateConfig", options)


@main.command()
@click.option("--out", required=True, help="New folder for videos/, manifest.parquet and annotations.parquet.")
@click.option("--videos", default=100, show_default=True, type=click.IntRange(min=1), help="How many.")
@click.option(
    "--split",
    default="train",
    show_default=True,
    type=click.Choice(["train", "val", "test"]),
    help="They differ in scenes and backgrounds; val and test also show looks that train never does.",
)
@click.option("--frames", default="8:16", show_default=True, metavar="N|LEAST:MOST", help="Frames of a video.")
@click.option("--shapes", default="2:5", show_default=True, metavar="N|LEAST:MOST", help="Shapes in a video.")
@click.option("--height", default=96, show_default=True, help="Height of the videos in pixels, an even number.")
@click.option("--width", default=128, show_default=True, help="Width of the videos in pixels, an even number.")
@click.option("--expressions", default=3, show_default=True, type=click.IntRange(min=1), help="Sentences, at most.")
@click.option(
    "--focus",
    type=click.Choice(["appearance", "size", "motion", "position", "relation", "absence"]),
    help="All scenes and, while there are some, all sentences of this kind.  [default: each in turn]",
)
@click.option("--no-target", is_flag=True, help="One more sentence for each video, about a shape that is not there.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Everything follows from it.")
@JSON_OPTION
def synth(**options: Any) -> None:
    """Make a synthetic data set: videos of moving shapes, sentences true of one of them, exact masks, attributes.

    \b
    rvos synth --out shapes/train --videos 2000
    rvos synth --out shapes/test --videos 150 --split test --frames 12
    """
    run_job("synth", "SynthConfig", options)


@main.command()
@click.option("--data", multiple=True, required=True, metavar="MANIFEST", help="Manifest to learn from; repeatable.")
@click.option(
    "--annotations",
    multiple=True,
    required=True,
    help="Its masks, or a run of 'rvos segment' as pseudo-labels; one for each --data.",
)
@click.option("--out", required=True, help="Folder of the training: log, states to go on from, and OUT/checkpoint.")
@click.option(
    "--weight",
    multiple=True,
    type=click.FloatRange(min=0),
    help="Share of each --data in an epoch.  [default: by its number of samples]",
)
@click.option(
    "--min-score",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Of pseudo-labels, leave out pairs whose pair_score is lower.",
)
@click.option("--heldout", metavar="MANIFEST", help="Manifest to score after each epoch, not learned from.")
@click.option("--heldout-annotations", metavar="ANNOTATIONS", help="Its masks.")
@click.option("--init", metavar="CHECKPOINT", help="Checkpoint folder to start from; else the recipe's [model], fresh.")
@click.option("--tokenizer", help="For fresh weights: folder with tokenizer files.  [default: one token per byte]")
@click.option(
    "--config",
    metavar="NAME|FILE",
    help="Recipe: a2d-sentences, images, joint, ref-youtube-vos, tiny-clips, tiny-motion, tiny-stills or a TOML file.  "
    "[default: ref-youtube-vos]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
    help="auto: all GPUs of the cluster, else one CPU process.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one per GPU, else 1]")
@click.option("--address", default="local", show_default=True, metavar="local|auto|HOST:PORT", help="Ray cluster.")
@JSON_OPTION
def train(**options: Any) -> None:
    """Train ReferFormer on manifests with annotations; the result is a checkpoint folder, OUT/checkpoint.

    Repeat the command to go on after an interruption: it takes up its last state, with the same data in the same order.
    Rows without a target (object_ids empty) teach that nothing is meant.

    \b
    rvos train --data ytvos/manifest.parquet --annotations ytvos/ --init pretrained/ --out training/
    rvos train --data m.parquet --annotations runs/teacher --min-score 0.6 --init checkpoint/ --out student/
    """
    run_job("train", "TrainConfig", options, show=lambda text: click.echo(text, err=True, nl=False))


@main.command()
@click.argument("scores", nargs=-1, required=True, metavar="A B [C ...]")
@click.option("--metric", help="Metric to compare.  [default: the first of the protocol]")
@click.option(
    "--by", multiple=True, metavar="ATTRIBUTE", help="Compare within groups too; forms as for 'rvos evaluate'."
)
@JSON_OPTION
def compare(**options: Any) -> None:
    """Hold the scores in B (and C ...) against those in A, folders that 'rvos evaluate --out' wrote.

    Pair by pair: the mean change with its interval, a permutation test by video, the smallest change that the set can
    show, Holm's correction over groups, and the pairs that changed most.

    \b
    rvos compare scores/baseline scores/new --by object_size:q4
    """
    run_job("compare", "CompareConfig", options)


@main.command()
@click.argument("run")
@click.option("--out", required=True, help="New folder for pairs.parquet, manifest.parquet, summary.json, report.html.")
@click.option("--manifest", help="Manifest that chooses among the pairs.  [default: the run's own]")
@click.option("--rule", multiple=True, metavar="RULE", help="Keep pairs with, say, 'mean_score >= 0.6'; repeatable.")
@click.option("--rules", metavar="FILE", help="Rules, one a line; # before remarks.")
@click.option("--against", metavar="RUN", help="Another run of the same pairs; agreement with it is other_run.")
@click.option("--calibrate", metavar="ANNOTATIONS", help="Masks of some pairs; cut where these have --precision.")
@click.option("--measure", metavar="NAME", help="Measure to cut.  [default: the one that goes best with J&F]")
@click.option(
    "--good", default=0.7, show_default=True, type=click.FloatRange(0, 1), help="J&F from which on a pair is good."
)
@click.option(
    "--precision",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of good pairs among those kept that --calibrate aims at.",
)
@click.option(
    "--address",
    metavar="local|auto|HOST:PORT",
    help="Ray cluster to measure on.  [default: this process; from 20,000 masks on a local one]",
)
@JSON_OPTION
def select(**options: Any) -> None:
    """Measure the masks of RUN, pair by pair, and say which to keep as labels to train on.

    pairs.parquet has every pair with its numbers, keep, and the reason if it is dropped; manifest.parquet has the kept
    ones; report.html shows pairs on both sides of each rule. The numbers: frames, mean_score, lowest_score, margin,
    temporal_iou, lowest_temporal_iou, flicker, area, area_jump, centroid_jump, fragments, border, empty, repeats,
    video_repeats, paraphrases, other_run.

    \b
    rvos select runs/first --out kept/ --rule "mean_score >= 0.6" --rule "flicker <= 0.1"
    rvos select runs/first --out kept/ --calibrate labelled/annotations.parquet --precision 0.9
    rvos train --data kept/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """
    run_job("select", "SelectConfig", options)


@main.group()
def leaderboard() -> None:
    """Rank scores of one protocol and one truth, in a folder that many can write to.

    \b
    rvos leaderboard add s3://bucket/mevis scores/ --name "ReferFormer, Video-Swin-T"
    rvos leaderboard show s3://bucket/mevis
    rvos leaderboard export s3://bucket/mevis leaderboard.html
    """


@leaderboard.command("add")
@click.argument("store")
@click.argument("scores")
@click.option("--name", required=True, help="Name of the entry; the first to take it keeps it.")
@JSON_OPTION
def leaderboard_add(**options: Any) -> None:
    """Add SCORES, a folder that 'rvos evaluate --out' wrote, to the leaderboard in the folder STORE.

    The first entry starts it, and fixes protocol, missing rule and truth; entries with others are refused. Kept are
    the scores by pair, counts, versions, the run's fingerprint, and hashes of truth and predictions.

    \b
    rvos leaderboard add boards/davis scores/ --name "ReferFormer, ResNet-50"
    """
    run_job("leaderboard", "AddConfig", options)


@leaderboard.command("show")
@click.argument("store")
@JSON_OPTION
def leaderboard_show(**options: Any) -> None:
    """Show the leaderboard in STORE, with intervals, and whether each entry is told apart from the first.

    \b
    rvos leaderboard show boards/davis
    """
    run_job("leaderboard", "ShowConfig", options)


@leaderboard.command("export")
@click.argument("store")
@click.argument("file")
@JSON_OPTION
def leaderboard_export(**options: Any) -> None:
    """Write the leaderboard in STORE to FILE: a page (.html), a table (.md) or data (.json), by its ending.

    \b
    rvos leaderboard export boards/davis leaderboard.html
    rvos leaderboard export s3://bucket/mevis s3://bucket/public/mevis.md
    """
    run_job("leaderboard", "ExportConfig", options)


@main.command()
@click.argument("scores")
@click.option("--out", required=True, help="Folder for report.html.")
@click.option("--against", metavar="SCORES", help="Scores to hold these against: what changed, and how sure that is.")
@click.option("--predictions", help="Where the predictions are now.  [default: where they were scored]")
@click.option("--annotations", help="Where the annotations are now.  [default: as above]")
@click.option("--manifest", help="Manifest with expressions and videos.  [default: as above, or the run's own]")
@click.option(
    "--media", metavar="DIR", help="Folder with the frames or file of each video, DIR/<video>; before the manifest's."
)
@JSON_OPTION
def report(**options: Any) -> None:
    """Show SCORES, a folder that 'rvos evaluate --out' wrote, as one HTML file that works offline.

    Means with intervals, attributes, J against F, J over time, length and size, and frames of the best and worst
    pairs. Predictions, annotations and videos that cannot be reached are noted in the page, and left out.

    \b
    rvos report scores/ --out report/
    rvos report scores/new --out report/ --against scores/baseline
    rvos report scores/ --out report/ --media DAVIS/JPEGImages/480p
    """
    run_job("report", "ReportConfig", options)


@main.group()
def export() -> None:
    """Write the masks of a run in the forms that servers, viewers and trainers read; check a zip for a server.

    RUN is a finished run, or a Parquet file or folder of masks (what 'rvos compact' wrote, or anybody's). The same
    masks give the same bytes each time. Exit code 1 if pairs without masks were left out.

    \b
    rvos export submission runs/first --for ref-youtube-vos --out submission.zip
    rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
    """


def export_options(out: str) -> Callable:
    """What all exports share; `out` says what is written."""

    def decorate(command: Callable) -> Callable:
        for option in (
            JSON_OPTION,
            click.option("--manifest", help="Manifest that chooses among the pairs.  [default: the run's own]"),
            click.option("--out", required=True, help=f"{out}, local or s3://."),
            click.argument("run"),
        ):
            command = option(command)
        return command

    return decorate


SERVER_OPTION = click.option(
    "--for", "server", required=True, type=click.Choice(SERVERS), help="Server, and the form it takes."
)
MISSING_OPTION = click.option(
    "--missing",
    default="error",
    show_default=True,
    type=click.Choice(["error", "empty"]),
    help="Frames asked for that have no mask are refused, or become empty masks.",
)


@export.command("submission")
@export_options("Zip to write")
@SERVER_OPTION
@MISSING_OPTION
def export_submission(**options: Any) -> None:
    """Write a zip for an evaluation server: one binary PNG for each frame asked for, in the folders that it wants.

    \b
    rvos export submission runs/first --for ref-youtube-vos --out submission.zip
    rvos export submission s3://b/masks --manifest m.parquet --for mevis --out s3://b/mevis.zip --missing empty
    """
    run_job("export", "SubmissionConfig", options)


@export.command("davis")
@export_options("New folder for anno_0/ and so on")
@MISSING_OPTION
def export_davis(**options: Any) -> None:
    """Write label maps as DAVIS has them, the objects of each annotator merged: DIR/anno_0/VIDEO/FRAME.png.

    Annotators and objects are the manifest's, or follow from the published numbering. Where masks overlap, the one with
    the higher score in that frame wins.

    \b
    rvos export davis runs/davis --out results/
    """
    run_job("export", "DavisConfig", options)


@export.command("coco-video")
@export_options("JSON file to write")
def export_coco_video(**options: Any) -> None:
    """Write one JSON in the form of YouTube-VIS, a list of RLEs for each pair.

    \b
    rvos export coco-video runs/first --out masks.json
    """
    run_job("export", "CocoVideoConfig", options)


@export.command("review")
@export_options("New folder for VIDEO.json")
def export_review(**options: Any) -> None:
    """Write COCO instances for each video, which FiftyOne and CVAT read: look at masks there, and correct them.

    \b
    rvos export review runs/first --out review/
    """
    run_job("export", "ReviewConfig", options)


@export.command("overlay")
@export_options("New folder for VIDEO/EXPRESSION.mp4 and VIDEO/sheet.png")
@click.option(
    "--as", "form", default="mp4", show_default=True, type=click.Choice(["mp4", "gif"]), help="Form of the videos."
)
@click.option("--fps", default=10, show_default=True, type=click.IntRange(1, 100), help="Frames a second.")
@click.option("--max-size", default=640, show_default=True, type=click.IntRange(min=32), help="Longer side in pixels.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N pairs that have masks.")
def export_overlay(**options: Any) -> None:
    """Draw the masks: a video for each pair, and for each video a sheet with a few frames of every pair.

    \b
    rvos export overlay runs/first --out overlays/ --limit 20
    rvos export overlay runs/first --out overlays/ --as gif --fps 6
    """
    run_job("export", "OverlayConfig", options)


@export.command("webdataset")
@export_options("New folder for shard-00000.tar, index.json and manifest.parquet")
@click.option(
    "--shard-mb", default=256, show_default=True, type=click.IntRange(min=1), help="Size from which a shard is closed."
)
def export_webdataset(**options: Any) -> None:
    """Write videos and masks as WebDataset shards, a sample for each video, and a training manifest.

    \b
    rvos export webdataset runs/first --out shards/
    rvos train --data shards/manifest.parquet --annotations runs/first --init checkpoint/ --out student/
    """
    run_job("export", "WebDatasetConfig", options)


@export.command("validate")
@click.argument("zip")
@SERVER_OPTION
@click.option("--manifest", help="What should be in it.  [default: expressions of a video are held against each other]")
@JSON_OPTION
def export_validate(**options: Any) -> None:
    """Find the classic mistakes in ZIP, anybody's: wrong root, missing frames, wrong size, gray values, extra files.

    Exit code 1 if there are any. Nothing is unpacked to disk.

    \b
    rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
    """
    run_job("export", "ValidateConfig", options)


if __name__ == "__main__":
    main()
