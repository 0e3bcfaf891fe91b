"""The command `rvos`: a thin skin over jobs/, with the options of jobs/config; heavy modules load when a job runs."""

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import click

from jobs.config.audit import AuditConfig
from jobs.config.check import CheckConfig
from jobs.config.compact import CompactConfig
from jobs.config.compare import CompareConfig
from jobs.config.convert import ConvertConfig
from jobs.config.demo import DemoConfig
from jobs.config.evaluate import EvaluateConfig
from jobs.config.export import (
    CocoVideoConfig,
    DavisConfig,
    OverlayConfig,
    ReviewConfig,
    SubmissionConfig,
    ValidateConfig,
    WebDatasetConfig,
)
from jobs.config.import_dataset import ImportConfig
from jobs.config.leaderboard import AddConfig, LeaderboardExportConfig, ShowConfig
from jobs.config.plan import PlanConfig
from jobs.config.report import ReportConfig
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from jobs.config.status import StatusConfig
from jobs.config.submit import SubmitConfig
from jobs.config.synth import SynthConfig
from jobs.config.train import TrainConfig
from jobs.terminal.commands import ConfigCommand
from pipeline.evaluation.protocols import PROTOCOLS
from schemas.errors import STATUSES, InfrastructureError, RvosError
from schemas.version import __version__

RETRY = "--retry-errors"


class Failure(click.ClickException):
    """An error that the user can act on: its text alone, and its exit code."""

    def __init__(self, error: RvosError):
        super().__init__(str(error))
        self.exit_code = error.exit_code


class Interrupted(KeyboardInterrupt):
    """SIGINT (Ctrl-C) or SIGTERM (a node that is taken away): `number` says which."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def run_job(config_class: type, options: dict[str, Any], module: str = "", call: Callable | None = None) -> None:
    """Build the job's config from the options, run it, print its result, and exit with its code.

    The only place where errors become messages. The job is the module in jobs/ that is called as that of its config,
    unless `module` names another; `call` runs it, given its `run` and the config, if it takes more than the config.
    """
    as_json = options.pop("as_json", False)
    handlers = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        job = importlib.import_module(f"jobs.{module or config_class.__module__.rpartition('.')[2]}")
        config = config_class(**options)
        result = call(job.run, config) if call else job.run(config)
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


def _interrupt(number: int, frame: object) -> NoReturn:
    """The first signal ends the job in order, the second one the process at once."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda again, _: os._exit(128 + again))
    raise Interrupted(number)


def _with_progress(run: Callable, config: object) -> Any:
    from jobs.terminal import progress

    with progress.show("segment") as show:
        return run(config, show)


def _with_log(run: Callable, config: object) -> Any:
    return run(config, lambda text: click.echo(text, err=True, nl=False))


def _segment(**options: Any) -> None:
    if options["dry_run"]:
        run_job(SegmentConfig, options, "dry_run")
    run_job(SegmentConfig, options, call=_with_progress)


def _submit(**options: Any) -> None:
    from jobs.terminal.command_line import spell_out

    words = options["command"]
    asks = options["status"] or options["logs"] or options["stop"]
    if not (asks and len(words) == 1 and words[0].startswith("rvos-")):
        options["command"] = spell_out(main, words)
    run_job(SubmitConfig, options, call=_with_log)


class SegmentCommand(ConfigCommand):
    """`--retry-errors` takes the word after it only if that is classes of errors, so that MANIFEST may follow it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [*_retry_alone(args)] if RETRY in args else args)


def _retry_alone(args: list[str]) -> Iterator[str]:
    for word, following in zip(args, [*args[1:], ""], strict=True):
        is_alone = word == RETRY and not {*following.split(",")} <= {"all", *STATUSES}
        yield f"{RETRY}=all" if is_alone else word


def _explain(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        click.echo(PROTOCOLS[name].explain())
        context.exit()


EXPLAIN = click.Option(
    ["--explain"],
    type=click.Choice(list(PROTOCOLS)),
    is_eager=True,
    expose_value=False,
    callback=_explain,
    help="Say what a protocol does, and whence it is known; nothing else is needed.",
)


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


@main.group()
def leaderboard() -> None:
    """Rank scores of one protocol and one truth, in a folder that many can write to.

    \b
    rvos leaderboard add s3://bucket/mevis scores/ --name "ReferFormer, Video-Swin-T"
    rvos leaderboard show s3://bucket/mevis
    rvos leaderboard export s3://bucket/mevis leaderboard.html
    """


@main.group()
def export() -> None:
    """Write the masks of a run in the forms that servers, viewers and trainers read; check a zip for a server.

    RUN is a finished run, or a Parquet file or folder of masks (what 'rvos compact' wrote, or anybody's). The same
    masks give the same bytes each time. Exit code 1 if pairs without masks were left out.

    \b
    rvos export submission runs/first --for ref-youtube-vos --out submission.zip
    rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
    """


def _add(group: click.Group, name: str, config: type, call: Callable | None = None) -> None:
    group.add_command(ConfigCommand(name, config, lambda **options: run_job(config, options, call=call)))


_add(main, "demo", DemoConfig)
_add(main, "import", ImportConfig)
_add(main, "check", CheckConfig)
_add(main, "convert", ConvertConfig)
main.add_command(SegmentCommand("segment", SegmentConfig, _segment))
_add(main, "plan", PlanConfig)
main.add_command(ConfigCommand("submit", SubmitConfig, _submit, context_settings={"allow_interspersed_args": False}))
_add(main, "status", StatusConfig)
_add(main, "compact", CompactConfig)
_add(main, "audit", AuditConfig)
_add(main, "evaluate", EvaluateConfig)
main.commands["evaluate"].params.insert(-1, EXPLAIN)
_add(main, "synth", SynthConfig)
_add(main, "train", TrainConfig, _with_log)
_add(main, "compare", CompareConfig)
_add(main, "select", SelectConfig)
_add(leaderboard, "add", AddConfig)
_add(leaderboard, "show", ShowConfig)
_add(leaderboard, "export", LeaderboardExportConfig)
_add(main, "report", ReportConfig)
_add(export, "submission", SubmissionConfig)
_add(export, "davis", DavisConfig)
_add(export, "coco-video", CocoVideoConfig)
_add(export, "review", ReviewConfig)
_add(export, "overlay", OverlayConfig)
_add(export, "webdataset", WebDatasetConfig)
_add(export, "validate", ValidateConfig)


if __name__ == "__main__":
    main()
