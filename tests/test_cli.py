"""The command line as its users meet it: help, options, errors without tracebacks."""

import functools
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import refervos
from cli import export_group, main
from jobs.config.export import FORMATS, ExportConfig, Format
from jobs.config.options import command_config, option
from pipeline.export.exported import Exported
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS


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
    assert (window.default, window.metavar, window.type.name) == (None, "N|whole", "text")
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


@pytest.mark.parametrize("words", [("--explain", "revos", "--json"), ("--json", "--explain", "revos")])
def test_explain_as_json(words):
    document = json.loads(CliRunner().invoke(main, ["evaluate", *words]).stdout)
    assert (document["name"], document["metrics"][0]) == ("revos", "J&F")
    assert any("type_id 2" in text for text in document["notes"])


def test_explain_needs_nothing_else():
    result = CliRunner().invoke(main, ["evaluate", "--explain", "ref-davis17"])
    assert result.exit_code == 0
    assert "annotator" in result.output


HEAVY = {"torch", "ray", "transformers", "pyarrow", "numpy", "numba", "pandas", "matplotlib"}


def test_no_help_imports_anything_heavy():
    code = f"""if True:
        import sys
        import click
        from click.testing import CliRunner
        from cli import main
        def walk(group, words):
            for name, command in group.commands.items():
                result = CliRunner().invoke(main, [*words, name, "--help"])
                assert result.exit_code == 0, name
                if isinstance(command, click.Group):
                    walk(command, [*words, name])
        walk(main, [])
        sys.exit(", ".join({HEAVY} & set(sys.modules)) or 0)"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_torch_is_imported_with_threads_that_sleep(tmp_path):
    """Otherwise they spin while they wait: estimates on a busy machine were up to 60 times too high."""
    (tmp_path / "torch.py").write_text("import os\nraise SystemExit(os.environ.get('OMP_WAIT_POLICY'))")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment["PYTHONPATH"] = os.pathsep.join((str(tmp_path), refervos.OWN_FOLDER))
    code = "import sys; sys.argv[1:] = ['plan', 'none.parquet']; from refervos import main; main()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr.strip().endswith("PASSIVE")


@pytest.mark.parametrize("words", [[], ["export"], ["leaderboard"]])
def test_summaries_are_whole_on_their_lines(words):
    text = CliRunner().invoke(main, [*words, "--help"], terminal_width=80).output
    group = functools.reduce(lambda group, word: group.commands[word], words, main)
    names = [name for section in group.sections.values() for name in section]
    assert sorted(names) == sorted(group.commands)
    shown = dict(re.findall(r"^  ([a-z-]+) +(\S.*)\.$", text.partition("Options:")[2], re.MULTILINE))
    assert set(names) <= set(shown)
    for name in names:
        assert f"{shown[name]}." == group.commands[name].help.partition("\n\n")[0].replace("\n", " ")
    assert all(len(line) <= 80 for line in text.partition("Options:")[2].splitlines())


def test_commands_are_listed_in_the_order_of_work():
    text = CliRunner().invoke(main, ["--help"]).output
    assert re.findall(r"^([A-Z][a-z]+):$", text, re.MULTILINE)[1:] == ["Data", "Run", "Evaluate", "Share", "Train"]
    assert main.sections["Data"] == ["import", "check", "synth"]


def test_options_are_listed_under_headings():
    text = CliRunner().invoke(main, ["segment", "--help"]).output
    headings = ["What to segment", "Model", "Frames", "Resources", "Retrying", "Output", "Access"]
    assert re.findall(r"^(\w[\w ]*):$", text, re.MULTILINE) == headings
    assert all(text.count(f"  {param.opts[-1]} ") == 1 for param in COMMANDS["segment"].params[2:])


def write_mine(source, out, *, mark):
    pairs = sum(1 for video in source.videos() for _ in video)
    Path(out).write_text(mark * pairs)
    return Exported({"pairs": pairs})


def test_a_format_is_one_config_and_one_line(monkeypatch, tmp_path):
    @command_config
    class MineConfig(ExportConfig):
        """Write a mark for each pair."""

        mark: str = option(default="x", help="Text to write.")

    row = {"frame_index": 0, "height": 4, "width": 4, "counts": rle.encode(np.ones((1, 4, 4), bool))[0], "status": "ok"}
    rows = [{"video_id": "v", "expression_id": name, "frame_name": "0", "score": 1.0, **row} for name in "abc"]
    pq.write_table(pa.Table.from_pylist(rows, PREDICTIONS), tmp_path / "masks.parquet")
    monkeypatch.setitem(sys.modules, "mine", SimpleNamespace(write=write_mine))
    mine = Format("mine", MineConfig, "mine:write", to_folder=False)
    FORMATS.append(mine)
    try:
        monkeypatch.setitem(main.commands, "export", export_group())
        words = ["export", "mine", str(tmp_path / "masks.parquet"), "--out", str(tmp_path / "out.txt"), "--mark", "y"]
        result = CliRunner().invoke(main, words)
    finally:
        FORMATS.remove(mine)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out.txt").read_text() == "yyy"
    assert "Write a mark for each pair" in main.commands["export"].get_help(click.Context(main.commands["export"]))


def test_wrong_use_exits_with_2_and_no_traceback(tmp_path):
    result = CliRunner().invoke(
        main, ["segment", str(tmp_path / "none.parquet"), str(tmp_path / "run"), "--checkpoint", "x"]
    )
    assert result.exit_code == 2
    assert "no manifest at" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "command", [["segment", "m.parquet", "run"], ["plan", "m.parquet"], ["benchmark", "x", "root"]]
)
@pytest.mark.parametrize(("name", "most"), [("--short-side", 4096), ("--max-size", 16384)])
def test_the_input_of_the_model_has_a_bound(command, name, most):
    result = CliRunner().invoke(main, [*command, name, "100000"])
    assert result.exit_code == 2
    assert f"{name}': 100000 is not in the range 32<=x<={most}." in result.output


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


def test_a_path_that_leads_nowhere_is_wrong_use(tmp_path):
    (tmp_path / "l.csv").symlink_to(tmp_path / "l.csv")
    result = CliRunner().invoke(main, ["import", "list", str(tmp_path / "l.csv"), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert result.output == f"Error: Too many levels of symbolic links ({tmp_path / 'l.csv'})\n"


def test_interrupt_exits_with_130(monkeypatch):
    import jobs.check

    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.check, "run", interrupt)
    assert CliRunner().invoke(main, ["check", "m.parquet"]).exit_code == 130


def test_an_interrupted_export_is_not_complete(monkeypatch):
    import jobs.export

    def interrupt(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs.export, "run", interrupt)
    result = CliRunner().invoke(main, ["export", "davis", "run", "--out", "out"])
    text = "Interrupted. OUT is not complete; repeat the command to write it.\n"
    assert (result.exit_code, result.output) == (130, text)


def test_input_errors_keep_their_text(monkeypatch):
    import jobs.check

    def refuse(config):
        raise InputError("row 7 is bad")

    monkeypatch.setattr(jobs.check, "run", refuse)
    result = CliRunner().invoke(main, ["check", "m.parquet"])
    assert (result.exit_code, result.output) == (2, "Error: row 7 is bad\n")


def test_messages_call_the_command_by_its_name(monkeypatch):
    called = {}
    monkeypatch.setattr("cli.main", lambda **options: called.update(options))
    refervos.main()
    assert called == {"prog_name": "rvos"}


LINK, USER = "https://h.invalid/m?X-Amz-Signature=5ecret&b=5ecret", "https://joe:5ecret@h.invalid/x"
ON_CLUSTERS = {
    "segment": ["m.parquet", "run"],
    "refine": ["run", "new", "--checkpoint", "folder"],
    "evaluate": ["run", "m.parquet", "--out", "scores"],
    "select": ["run", "--out", "chosen"],
    "benchmark": ["ref-davis17", "root", "--checkpoint", "folder", "--out", "out"],
    "train": ["--config", "tiny-clips", "--data", "m.parquet", "--annotations", "a.parquet", "--out", "out"],
}


def test_commands_on_clusters():
    found = {name for name, command in COMMANDS.items() if "--address" in {param.opts[-1] for param in command.params}}
    assert found == {*ON_CLUSTERS, "submit"}


@pytest.mark.parametrize("name", ON_CLUSTERS)
def test_an_address_of_another_form_is_refused_first(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [name, *ON_CLUSTERS[name], "--address", "head"])
    assert result.exit_code == 2
    assert "--address must be local, auto or HOST:PORT of the head node, got 'head'" in result.output
    assert not list(tmp_path.iterdir())


SUBMIT = ("submit", "--address", "http://h.invalid:1", "--")


@pytest.mark.parametrize(
    "words",
    [
        [LINK],
        ["check", "m.parquet", LINK],
        ["check", "m.parquet", "--json", USER],
        ["check", f"--{USER}"],
        ["plan", "m.parquet", "--rules", USER],
        ["plan", "m.parquet", "--overlap", LINK],
        ["export", LINK],
        ["leaderboard", "add", "store", "scores", "--name", "x", USER],
        ["import", USER, "root"],
        ["evaluate", "--explain", LINK],
        ["submit", "--address", "http://joe:5ecret@[h:1", "--", "check", "s3://b/m"],
        ["submit", "--address", "http://joe:5ecret@h:99999", "--", "check", "s3://b/m"],
        ["submit", "--address", "http://h:x/?token=5ecret", "--", "check", "s3://b/m"],
        [*SUBMIT, USER],
        [*SUBMIT, "check", "m.parquet", LINK],
        ["submit", "--address", "joe:5ecret@h.invalid:1", "--", "check", "s3://b/m"],
        [*SUBMIT, "evaluate", "s3://b/r", "s3://b/a", "--out", "s3://b/o", "--on-finish", f"curl '{LINK}'"],
    ],
)
def test_errors_about_words_show_no_secret(words):
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "5ecret" not in done.output + done.stderr
    assert "***" in done.stderr or "do not put user names" in done.stderr


@pytest.mark.parametrize(
    "words", [["X"], ["check", "m", "X"], ["check", "--X"], ["export", "X"], ["evaluate", "--explain", "X"]]
)
def test_errors_about_words_hold_no_control_sequence(words):
    hostile = [word.replace("X", "\x1b]0;title\x07\x1b[31m\u202e") for word in words]
    done = CliRunner().invoke(main, hostile, color=True)  # without colours, click itself removes such sequences
    assert done.exit_code == 2
    assert not {"\x1b", "\x07", "\u202e"} & set(done.stderr)
    assert "\\x1b" in done.stderr


SINGLE = [
    (name, param)
    for name, command in COMMANDS.items()
    for param in command.params
    if isinstance(param, click.Option) and not (param.multiple or param.is_flag)
]


@pytest.mark.parametrize(("name", "param"), SINGLE, ids=[f"{name} {param.opts[-1]}" for name, param in SINGLE])
def test_a_second_value_of_an_option_is_not_passed_over(name, param):
    option, value = param.opts[-1], next(iter(getattr(param.type, "choices", "1")))
    done = CliRunner().invoke(main, [*name.split(), f"{option}={value}", f"{option}={value}"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{option} is given 2 times, but takes one value" in done.stderr


def test_flags_and_repeatable_options_may_be_repeated(tmp_path):
    words = ["select", str(tmp_path), "--json", "--json", "--rule", "mean_score>0.5", "--rule", "frames>3"]
    done = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "out")])
    assert "RUN" in done.stderr
    assert "times" not in done.stderr
