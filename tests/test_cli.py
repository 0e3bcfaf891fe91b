"""The command line as its users meet it: help, options, errors without tracebacks."""

import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from cli import main
from schemas.errors import InputError


def commands(group=main, before=""):
    """All commands by name, those of groups too."""
    found = {}
    for name, command in group.commands.items():
        inner = commands(command, f"{before}{name} ") if isinstance(command, click.Group) else None
        found |= inner or {f"{before}{name}": command}
    return found


COMMANDS = commands()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_job(name):
    module = COMMANDS[name].config.__module__.replace("jobs.config.", "jobs.")
    assert callable(importlib.import_module(module).run)


def test_what_a_field_says_is_what_the_command_line_has():
    options = {f"{name} {param.opts[-1]}": param for name in COMMANDS for param in COMMANDS[name].params}
    window, overlap = options["segment --window"], options["plan --overlap"]
    assert (window.default, window.metavar, window.type.name) == ("36", "N|whole", "text")
    assert (overlap.default, overlap.type.name, overlap.type.min) == (0, "integer range", 0)
    timeout = options["segment --unit-timeout"]
    assert (timeout.to_info_dict()["default"], timeout.type.min, timeout.type.min_open) == (None, 0, True)
    assert list(options["export overlay --as"].type.choices) == ["mp4", "gif"]
    assert options["export submission --for"].required
    assert options["select --rule"].multiple
    assert options["segment --strict"].is_flag
    assert options["compare scores"].nargs == -1
    assert "evaluate --decay-8bit" not in options
    assert "segment --on-oom" not in options


@pytest.mark.parametrize("name", COMMANDS)
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
