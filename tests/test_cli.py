"""The command line as its users meet it: help, options, errors without tracebacks."""

import dataclasses
import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cli import DATA_SETS, PROTOCOLS, PUBLISHED_BACKBONES, SERVERS, main
from schemas.errors import InputError

JOBS = {
    "demo": ("demo", "DemoConfig"),
    "import": ("import_dataset", "ImportConfig"),
    "check": ("check", "CheckConfig"),
    "convert": ("convert", "ConvertConfig"),
    "segment": ("segment", "SegmentConfig"),
    "plan": ("plan", "PlanConfig"),
    "submit": ("submit", "SubmitConfig"),
    "audit": ("audit", "AuditConfig"),
    "compact": ("compact", "CompactConfig"),
    "status": ("status", "StatusConfig"),
    "evaluate": ("evaluate", "EvaluateConfig"),
    "compare": ("compare", "CompareConfig"),
    "synth": ("synth", "SynthConfig"),
    "train": ("train", "TrainConfig"),
    "leaderboard add": ("leaderboard", "AddConfig"),
    "leaderboard show": ("leaderboard", "ShowConfig"),
    "leaderboard export": ("leaderboard", "ExportConfig"),
    "report": ("report", "ReportConfig"),
    "select": ("select", "SelectConfig"),
    "export submission": ("export", "SubmissionConfig"),
    "export davis": ("export", "DavisConfig"),
    "export coco-video": ("export", "CocoVideoConfig"),
    "export review": ("export", "ReviewConfig"),
    "export overlay": ("export", "OverlayConfig"),
    "export webdataset": ("export", "WebDatasetConfig"),
    "export validate": ("export", "ValidateConfig"),
}


def commands(group=main, before=""):
    """All commands by name, those of groups too."""
    found = {}
    for name, command in group.commands.items():
        inner = commands(command, f"{before}{name} ") if isinstance(command, click.Group) else None
        found |= inner or {f"{before}{name}": command}
    return found


COMMANDS = commands()


def test_every_command_has_its_job():
    assert set(COMMANDS) == set(JOBS)


@pytest.mark.parametrize("name", JOBS)
def test_options_equal_the_fields_of_the_config(name):
    module, config = JOBS[name]
    fields = {
        field.name: field for field in dataclasses.fields(getattr(importlib.import_module(f"jobs.{module}"), config))
    }
    options = {param.name: param for param in COMMANDS[name].params if param.name != "as_json" and param.expose_value}
    assert set(options) == set(fields)
    for option in options.values():
        default = fields[option.name].default
        if default is not dataclasses.MISSING and isinstance(option, click.Option) and not option.multiple:
            assert option.to_info_dict()["default"] == default, option.name


@pytest.mark.parametrize("name", JOBS)
def test_help_has_an_example_and_says_what_each_option_is_for(name):
    result = CliRunner().invoke(main, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert f"rvos {name}" in result.output
    assert "--json" in result.output
    assert all(option.help for option in COMMANDS[name].params if isinstance(option, click.Option))


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--retry-errors", "m", "r"], "all"),
        (["m", "r", "--retry-errors"], "all"),
        (["--retry-errors", "oom,crash", "m", "r"], "oom,crash"),
        (["m", "--retry-errors=oom", "r"], "oom"),
        (["m", "r", "--retry-errors", "all"], "all"),
        (["m", "r", "--retry-errors", "--strict"], "all"),
        (["m", "r"], None),
    ],
)
def test_retry_errors_leaves_the_manifest_alone(words, wanted):
    with COMMANDS["segment"].make_context("segment", words) as context:
        assert context.params | {"manifest": "m", "run": "r", "retry_errors": wanted} == context.params


def test_backbone_names_are_the_models():
    from model.referformer.config import PUBLISHED

    assert set(PUBLISHED_BACKBONES) == set(PUBLISHED)


def test_data_set_names_are_those_of_the_job():
    from jobs import import_dataset

    assert list(import_dataset.DATA_SETS) == DATA_SETS


def test_protocol_names_are_those_of_the_evaluation():
    from pipeline.evaluation import protocols

    assert list(protocols.PROTOCOLS) == PROTOCOLS


def test_server_names_are_those_of_the_export():
    from pipeline.export.servers import SERVERS as KNOWN

    assert list(KNOWN) == SERVERS


def test_explain_needs_nothing_else():
    result = CliRunner().invoke(main, ["evaluate", "--explain", "ref-davis17"])
    assert result.exit_code == 0
    assert "annotator" in result.output


def test_help_imports_nothing_heavy():
    heavy = {"torch", "ray", "transformers", "pyarrow", "numba", "pandas"}
    code = f"import sys, cli; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wrong_use_exits_with_2_and_no_traceback(tmp_path):
    result = CliRunner().invoke(
        main, ["segment", str(tmp_path / "none.parquet"), str(tmp_path / "run"), "--checkpoint", "x"]
    )
    assert result.exit_code == 2
    assert "no manifest at" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", [["segment", "m.parquet", "run"], ["plan", "m.parquet"]])
@pytest.mark.parametrize("options", [["--overlap", "36"], ["--window", "whole", "--overlap", "4"], ["--overlap", "-1"]])
def test_an_overlap_that_does_not_fit_its_window_is_wrong_use(command, options):
    result = CliRunner().invoke(main, [*command, *options])
    assert result.exit_code == 2
    assert "--overlap" in result.output


def test_operating_system_errors_are_said_plainly(monkeypatch, tmp_path):
    import jobs.check

    def fail(config):
        raise PermissionError(13, "Permission denied", str(tmp_path / "m.parquet"))

    monkeypatch.setattr(jobs.check, "run", fail)
    result = CliRunner().invoke(main, ["check", "m.parquet"])
    assert result.exit_code == 3
    assert result.output == f"Error: Permission denied ({tmp_path / 'm.parquet'})\n"


def test_interrupt_exits_with_130(monkeypatch):
    import jobs.check

    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.check, "run", interrupt)
    assert CliRunner().invoke(main, ["check", "m.parquet"]).exit_code == 130


def test_input_errors_keep_their_text(monkeypatch):
    import jobs.check

    def refuse(config):
        raise InputError("row 7 is bad")

    monkeypatch.setattr(jobs.check, "run", refuse)
    result = CliRunner().invoke(main, ["check", "m.parquet"])
    assert (result.exit_code, result.output) == (2, "Error: row 7 is bad\n")
