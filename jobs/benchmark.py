"""`rvos benchmark`: import, segment, evaluate and report by the published rules, by the jobs of the other commands."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from jobs import evaluate, export, import_dataset, report, segment
from jobs.config.benchmark import BENCHMARKS, BenchmarkConfig
from jobs.config.evaluate import EvaluateConfig
from jobs.config.export import SubmissionConfig
from jobs.config.import_dataset import ImportConfig
from jobs.config.report import ReportConfig
from jobs.config.segment import SegmentConfig
from jobs.result import JobResult
from jobs.terminal.command_line import typed_command
from jobs.terminal.progress import update
from pipeline.datasets.common.split_folder import NoSplitsError
from pipeline.io import output_folder, storage
from schemas.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkResult(JobResult):
    """The commands that were run, in order, and their results by the name of the command."""

    commands: list[str] = field(default_factory=list)
    steps: dict[str, JobResult] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        return max(step.exit_code for step in self.steps.values())

    def to_json(self) -> dict:
        steps = {name: step.to_json() for name, step in self.steps.items()}
        return {"commands": self.commands, **steps, "notes": self.notes}

    def text(self) -> str:
        steps = zip(self.commands, self.steps.values(), strict=True)
        parts = [f"{command}\n{step.text()}" for command, step in steps]
        return "\n\n".join([*parts, *(f"note    {note}" for note in self.notes)])


def run(config: BenchmarkConfig, log: Callable[[str], None] = lambda _: None) -> BenchmarkResult:
    """Run all steps in the folder `config.out`; `log` takes each command before it runs.

    Raises InputError before the first step if the checkpoint is not usable or the folder is not one of this benchmark
    and data set, and what the jobs raise. Every step may be repeated, so the whole may.
    """
    out, inputs = storage.absolute(config.out), _check_before(config)
    with output_folder.claimed(out, inputs):
        result = _run_steps(config, log)
    output_folder.finish(out, inputs, {"steps": len(result.steps)})
    return result


def _run_steps(config: BenchmarkConfig, log: Callable[[str], None]) -> BenchmarkResult:
    result, benchmark = BenchmarkResult(), BENCHMARKS[config.name]
    split = config.split or benchmark.split
    place = {name: storage.join(config.out, name) for name in ("data", "run", "scores", "report")}

    def step(name: str, job: Callable[..., JobResult], config_class: type, **options: Any) -> Any:
        step_config = config_class(**options)
        command = typed_command(name, config_class, options)
        log(command)
        update(name)
        result.commands.append(command)
        try:
            result.steps[name] = job(step_config)
        except NoSplitsError:
            raise
        except InputError as error:
            raise InputError(with_way_out(str(error), command)) from error
        return result.steps[name]

    options = config.import_options(place["data"])
    try:
        imported = step("import", import_dataset.run, ImportConfig, **options)
    except NoSplitsError as error:
        if config.split is not None:
            raise
        split, default = None, options.pop("split")
        result.commands.clear()
        result.notes.append(f"not --split {default}, the usual one: {str(error).partition(';')[0]}")
        imported = step("import", import_dataset.run, ImportConfig, **options)
    segmented = step(
        "segment",
        segment.run,
        SegmentConfig,
        manifest=imported.manifest,
        run=place["run"],
        **config.segment_options(),
    )
    segment_command = result.commands[-1]
    if imported.annotations:
        scored = {"predictions": segmented.run, "annotations": imported.annotations, "protocol": config.name}
        shared = {"address": config.address} if config.address != "local" else {}
        step("evaluate", evaluate.run, EvaluateConfig, **scored, out=place["scores"], by=benchmark.by, **shared)
        step("report", report.run, ReportConfig, scores=place["scores"], out=place["report"])
    if split in benchmark.server_splits or (split is None and benchmark.server_splits and not imported.annotations):
        if segmented.failed:
            again = f"{segment_command} --retry-errors"
            result.notes.append(f"no zip for the server: pairs failed; segment them again by {again}, then repeat")
        else:
            zip_file = storage.join(config.out, "submission.zip")
            step("export submission", export.run, SubmissionConfig, run=segmented.run, server=config.name, out=zip_file)
    elif not imported.annotations:
        result.notes.append(f"{imported.manifest} has no annotations, so the masks were not scored")
    return result


def _check_before(config: BenchmarkConfig) -> dict[str, Any]:
    """Return the inputs for which to claim the folder. Raises InputError for what would fail after a long import."""
    segment.check_model(SegmentConfig(manifest="", run="", **config.segment_options()))
    out, root = storage.absolute(config.out), storage.absolute(config.root)
    if not storage.is_folder(root):
        raise InputError(f"ROOT {root} is not a folder; name the folder of the data set")
    output_folder.require_outside(out, root)
    return {name: value for name, value in config.import_options("").items() if name != "out"} | {"root": root}


def with_way_out(error: str, command: str) -> str:
    """Name the command to type if an error of a step advises an option that `rvos benchmark` lacks."""
    own = {f"--{declared.name.replace('_', '-')}" for declared in fields(BenchmarkConfig)}
    others = sorted(set(re.findall(r"--[a-z][a-z-]*[a-z]", error)) - own)
    return f"{error}; for {' and '.join(others)} type the step yourself: {command}" if others else error
