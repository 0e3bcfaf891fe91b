"""The command `rvos`: its commands with the options of `jobs.config`. Heavy modules are imported when a job runs."""

import contextlib
import errno
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import click

from jobs.config.audit import AuditConfig
from jobs.config.benchmark import BenchmarkConfig
from jobs.config.check import CheckConfig
from jobs.config.compact import CompactConfig
from jobs.config.compare import CompareConfig
from jobs.config.convert import ConvertConfig
from jobs.config.demo import DemoConfig
from jobs.config.evaluate import EvaluateConfig
from jobs.config.export import FORMATS, ExportConfig, ValidateConfig
from jobs.config.import_dataset import MASKS, ImportConfig
from jobs.config.leaderboard import AddConfig, LeaderboardExportConfig, ShowConfig
from jobs.config.plan import PlanConfig
from jobs.config.refine import RefineConfig
from jobs.config.report import ReportConfig
from jobs.config.segment import SegmentConfig
from jobs.config.select import SelectConfig
from jobs.config.status import StatusConfig
from jobs.config.submit import SubmitConfig
from jobs.config.synth import SynthConfig
from jobs.config.train import TrainConfig
from jobs.terminal.commands import ConfigCommand, SectionedGroup
from jobs.terminal.output import echo, note_temp_folder
from jobs.terminal.progress import live_line
from pipeline.evaluation.protocols import PROTOCOLS
from schemas.errors import STATUSES, InfrastructureError, InputError, RvosError
from schemas.printable import printable
from schemas.shown import bounded, shown_json, without_secrets
from schemas.version import __version__

RETRY = "--retry-errors"
WRONG_PATH = (errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR)  # no repetition helps
RESUMED = SegmentConfig, RefineConfig, BenchmarkConfig, TrainConfig  # their jobs go on where they were interrupted
WRITERS = ExportConfig, SelectConfig  # theirs begin again


class Failure(click.ClickException):
    """An error that the user can act on: its message alone, and its exit code."""

    def __init__(self, error: RvosError):
        super().__init__(printable(str(error)))
        self.exit_code = error.exit_code


class Interrupted(KeyboardInterrupt):
    """SIGINT (Ctrl-C), SIGTERM (a node that is taken away) or SIGHUP (a lost terminal), by `number`."""

    def __init__(self, number: int):
        keys = " (Ctrl-C)" if number == signal.SIGINT else ""
        super().__init__(f"interrupted by {signal.Signals(number).name}{keys}")
        self.number = number


def run_job(config_class: type, options: dict[str, Any], module: str = "", call: Callable | None = None) -> NoReturn:
    """Run a job as `_run_job`, then the command of --on-finish."""
    command = None if options.get("dry_run") else options.get("on_finish")
    finish: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if command is not None:
        name, out = click.get_current_context().info_name or "", options.get("out") or options["run"]
        try:
            finish = importlib.import_module("jobs.terminal.finish").on_finish(command, name, out)
        except InputError as error:
            raise Failure(error) from None
    with finish:
        _run_job(config_class, options, module, call)


def _run_job(config_class: type, options: dict[str, Any], module: str, call: Callable | None) -> NoReturn:
    """Build the config from the options, run the job, print its result, and exit with its code.

    Errors become messages here and nowhere else.
    module: of the job, in jobs/; by default the one that is named as the module of the config.
    call: runs the job, given its `run` and the config; by default `run(config)`.
    """
    as_json, form = options.pop("as_json"), options.get("print_as")
    if as_json and form:
        raise Failure(InputError("--json and --format each say how to print the result; give one of them"))
    command = click.get_current_context().command_path.partition(" ")[2]
    handlers = {number: signal.signal(number, _interrupt) for number in _heeded()}
    try:
        with live_line(command):
            config = config_class(**options)
            importlib.import_module("jobs.terminal.wrong_object").refuse_wrong_objects(config, command, options)
            session = importlib.import_module("pipeline.cluster.session")
            session.let_threads_sleep()  # before the job imports torch: some jobs run a model in this process
            job = importlib.import_module(f"jobs.{module or config_class.__module__.rpartition('.')[2]}")
            note_temp_folder()
            result = call(job.run, config) if call else job.run(config)
    except RvosError as error:
        raise Failure(error) from None
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        kind = InputError if error.errno in WRONG_PATH else InfrastructureError
        raise Failure(kind(f"{error.strerror or error}{where}")) from None
    except KeyboardInterrupt as interrupt:
        kept = "Finished work is kept; repeat the command to resume." if config_class in RESUMED else ""
        if issubclass(config_class, WRITERS):
            kept = "OUT is not complete; repeat the command to write it."
        echo(f"Interrupted. {kept}".rstrip(), err=True)
        sys.exit(128 + (interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if as_json:
        echo(shown_json(result.to_json()).replace("\x7f", r"\u007f"))
    elif form:
        tables = importlib.import_module("pipeline.report.score_tables")
        echo(without_secrets(tables.TABLE_FORMATS[form](result.table())))
    else:
        echo(bounded(without_secrets(result.text())))
    sys.exit(result.exit_code)


def _heeded() -> list[int]:
    """Return the signals that end a job; without SIGHUP under nohup, which ignores it."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    return [each for each in numbers if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]


def _interrupt(number: int, frame: object) -> NoReturn:
    """End the job in order at the first signal, the process at once at the second."""
    for each in _heeded():
        signal.signal(each, lambda again, _: os._exit(128 + again))
    raise Interrupted(number)


def with_log(run: Callable, config: object) -> Any:
    return run(config, lambda text: echo(text, err=True, nl=False))


def with_commands(run: Callable, config: object) -> Any:
    return run(config, lambda text: echo(f"$ {text}", err=True))


def segment(**options: Any) -> None:
    if options["dry_run"]:
        run_job(SegmentConfig, options, module="dry_run")
    run_job(SegmentConfig, options)


def import_any(**options: Any) -> None:
    run_job(ImportConfig, options, module="import_masks" if options["dataset"] == MASKS else "")


def refine(**options: Any) -> None:
    run_job(RefineConfig, options)


def submit(**options: Any) -> None:
    from jobs.terminal.command_line import canonical_command

    words = options["command"]
    is_id = len(words) == 1 and words[0].startswith("rvos-")
    if not (is_id and (options["status"] or options["logs"] or options["stop"])):
        options["command"] = canonical_command(main, words)
    run_job(SubmitConfig, options, call=with_log)


class SegmentCommand(ConfigCommand):
    """Let `--retry-errors` take the next word only if that is a list of statuses, so that an argument may follow."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = []
        for word, following in zip(args, [*args[1:], ""], strict=True):
            is_bare = word == RETRY and not {*following.split(",")} <= {"all", *STATUSES}
            words.append(f"{RETRY}=all" if is_bare else word)
        return super().parse_args(ctx, words)


class EvaluateCommand(ConfigCommand):
    """Let `--explain NAME` do without arguments, and with `--json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["json"] = "--json" in args
        return super().parse_args(ctx, args)


def _explain(context: click.Context, _: click.Parameter, name: str | None) -> None:
    if name is not None:
        protocol = PROTOCOLS[name]
        echo(shown_json(protocol.to_json()) if context.meta["json"] else protocol.explain())
        context.exit()


def job(config: type, module: str = "", call: Callable | None = None) -> ConfigCommand:
    """Make the command that runs the job of `config`; see `run_job`."""
    return ConfigCommand(config, lambda **options: run_job(config, options, module, call))


EVALUATE = EvaluateCommand(EvaluateConfig, lambda **options: run_job(EvaluateConfig, options))
EVALUATE.params.append(
    click.Option(
        ["--explain"],
        type=click.Choice(list(PROTOCOLS)),
        metavar="NAME",
        is_eager=True,
        expose_value=False,
        callback=_explain,
        help="Describe a protocol and its source, and exit; no other option or argument is needed.",
    )
)

LEADERBOARD = SectionedGroup(
    {"Commands": {"add": job(AddConfig), "show": job(ShowConfig), "export": job(LeaderboardExportConfig)}},
    help="""Rank scores in a shared folder.

    All entries of a leaderboard have the same protocol, the same --missing rule and the same annotations.

        rvos leaderboard add s3://bucket/mevis scores/ --name "ReferFormer, Video-Swin-T"
        rvos leaderboard show s3://bucket/mevis
        rvos leaderboard export s3://bucket/mevis leaderboard.html
    """,
)


def export_group() -> SectionedGroup:
    """Make the group `rvos export`, with a command for each of `FORMATS`."""
    return SectionedGroup(
        {
            "Formats": {form.name: job(form.config, "export") for form in FORMATS},
            "Checks": {"validate": job(ValidateConfig)},
        },
        help="""Write masks for evaluation servers, viewers and training tools.

        RUN is a finished run, or a Parquet file or folder of masks from 'rvos compact' or another tool. Output is
        reproducible byte for byte. Pairs without masks are left out, with exit code 1. 'submission' and 'davis' are
        stricter: they fail and write no file, unless --missing empty is given.

            rvos export submission runs/first --for ref-youtube-vos --out submission.zip
            rvos export validate submission.zip --for ref-youtube-vos --manifest data/manifest.parquet
        """,
    )


SECTIONS = {
    "Data": {"import": ConfigCommand(ImportConfig, import_any), "check": job(CheckConfig), "synth": job(SynthConfig)},
    "Run": {
        "demo": job(DemoConfig),
        "plan": job(PlanConfig),
        "segment": SegmentCommand(SegmentConfig, segment),
        "refine": SegmentCommand(RefineConfig, refine),
        "status": job(StatusConfig),
        "audit": job(AuditConfig),
        "compact": job(CompactConfig),
        "submit": ConfigCommand(SubmitConfig, submit, context_settings={"allow_interspersed_args": False}),
    },
    "Evaluate": {
        "benchmark": job(BenchmarkConfig, call=with_commands),
        "evaluate": EVALUATE,
        "compare": job(CompareConfig),
        "leaderboard": LEADERBOARD,
        "report": job(ReportConfig),
    },
    "Share": {"select": job(SelectConfig), "export": export_group()},
    "Train": {"train": job(TrainConfig, call=with_log), "convert": job(ConvertConfig)},
}

main = SectionedGroup(
    SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="""Segment objects that are described in words, in large video corpora.

    Segments every pair (a video and a sentence) that a manifest (a table) lists, writes one RLE mask per frame,
    and scores the masks by J&F.

        rvos import ref-davis17 /data/ref-davis17 --split valid --out data/
        rvos convert ytvos_resnet50.pth --tokenizer roberta-base/ --out checkpoint/
        rvos segment data/manifest.parquet runs/first --checkpoint checkpoint/ --rules ref-davis17
        rvos evaluate runs/first data/annotations.parquet --out scores/ --protocol ref-davis17 --by annotator

    Exit codes: 0 success; 1 some pairs failed, or a check found problems; 2 wrong options, invalid input, or storage
    that is not safe for runs; 3 storage or the cluster failed, or the result could not be printed; 129, 130
    or 143 interrupted.
    """,
)
click.version_option(__version__, prog_name="rvos")(main)


if __name__ == "__main__":
    main()
