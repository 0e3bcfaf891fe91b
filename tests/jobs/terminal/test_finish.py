"""`--on-finish`: what the command gets, that no shell reads it, and that its failure changes no exit code."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from cli import main
from jobs.config.segment import SegmentConfig
from jobs.segment_run import run_folder
from jobs.terminal import finish
from schemas.errors import InputError

SAVE = "import json, os, sys; json.dump([dict(os.environ), sys.argv[1:]], open({path!r}, 'w')); print('said')"


@pytest.fixture
def saved(tmp_path):
    """A command that saves its environment and arguments, and a function that reads them."""
    path = tmp_path / "saved.json"
    program = tmp_path / "save.py"
    program.write_text(SAVE.format(path=str(path)))

    def read() -> tuple[dict, list]:
        variables, words = json.loads(path.read_text())
        return {name: variables.get(name) for name in ("RVOS_COMMAND", "RVOS_OUT", "RVOS_EXIT_CODE")}, words

    return f"{sys.executable} {program}", read


@pytest.fixture(scope="module")
def masks(golden) -> list[str]:
    return [str(golden / "metrics" / name) for name in ("pred.parquet", "gt.parquet")]


def test_after_success(masks, saved, tmp_path):
    command, read = saved
    out = tmp_path / "a $(touch x); b"
    words = ["evaluate", *masks, "--out", str(out), "--json", "--on-finish", f"{command} '$RVOS_OUT `id`' $HOME"]
    done = CliRunner().invoke(main, words)
    assert json.loads(done.stdout)["protocol"] == "all-frames"  # the command prints on stderr
    variables, arguments = read()
    assert variables == {"RVOS_COMMAND": "evaluate", "RVOS_OUT": str(out), "RVOS_EXIT_CODE": str(done.exit_code)}
    assert arguments == ["$RVOS_OUT `id`", "$HOME"]


def test_after_an_error(saved, tmp_path):
    command, read = saved
    words = ["segment", "absent.parquet", str(tmp_path / "run"), "--on-finish", command]
    done = CliRunner().invoke(main, words)
    assert (done.exit_code, read()[0]["RVOS_EXIT_CODE"]) == (2, "2")
    assert done.stderr.startswith("Error: no manifest at ")
    assert read()[0]["RVOS_OUT"] == str(tmp_path / "run")


def test_a_failure_is_shown_without_secrets(masks, tmp_path):
    command = "false https://joe:5ecret@h.invalid/x 'https://h.invalid/y?sig=5ecret'"
    done = CliRunner().invoke(main, ["evaluate", *masks, "--out", str(tmp_path / "out"), "--on-finish", command])
    assert "--on-finish: false https://***@h.invalid/x 'https://h.invalid/y?***' ended with exit code 1" in done.stderr


def test_after_an_interruption(saved, tmp_path, monkeypatch):
    from jobs import segment

    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "run", interrupted)
    command, read = saved
    done = CliRunner().invoke(main, ["segment", "m.parquet", str(tmp_path / "run"), "--on-finish", command])
    assert (done.exit_code, read()[0]["RVOS_EXIT_CODE"]) == (130, "130")


def test_its_failure_is_reported_only(masks, tmp_path):
    words = ["evaluate", *masks, "--out", str(tmp_path / "s")]
    plain = CliRunner().invoke(main, words)
    done = CliRunner().invoke(main, [*words, "--on-finish", f"{sys.executable} -c 'raise SystemExit(7)'"])
    assert done.exit_code == plain.exit_code
    assert done.stderr.splitlines()[-1].endswith("ended with exit code 7")
    assert done.stdout == plain.stdout


def test_a_dry_run_is_no_end(saved, tmp_path):
    command, read = saved
    words = ["segment", "absent.parquet", str(tmp_path / "run"), "--dry-run", "--on-finish", command]
    assert CliRunner().invoke(main, words).exit_code == 2
    with pytest.raises(FileNotFoundError):
        read()


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("nobody-has-this x", "there is no program 'nobody-has-this'"),
        ("a 'b", "divided into words"),
        (" ", "no program"),
    ],
)
def test_a_command_that_cannot_run_ends_the_job_before_it_begins(command, problem, tmp_path):
    with pytest.raises(InputError, match=problem):
        finish.on_finish(command, "segment", "run")
    done = CliRunner().invoke(main, ["segment", "m.parquet", str(tmp_path / "run"), "--on-finish", command])
    assert done.exit_code == 2
    assert problem in done.stderr
    assert "no manifest" not in done.stderr


@pytest.mark.parametrize("fits", [True, False])
def test_the_folder_of_a_new_run_is_told_if_the_run_goes_there(saved, labelled_run, shapes, tmp_path, fits):
    command, read = saved
    config = SegmentConfig(manifest=shapes[0], run=labelled_run.folder, new_run=str(tmp_path / "new"))
    with pytest.raises(SystemExit), finish.on_finish(command, "segment", config.run):
        found, _ = run_folder(config, labelled_run.fingerprint if fits else "another", {})
        raise SystemExit(1)
    assert read()[0]["RVOS_OUT"] == found == (config.run if fits else str(tmp_path / "new"))


def test_after_a_result_that_could_not_be_printed(masks, saved, tmp_path):
    command, read = saved
    words = ["evaluate", *masks, "--out", str(tmp_path / "scores"), "--on-finish", command]
    code = f"import sys; sys.argv[1:] = {words}; from refervos import main; main()"
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full, timeout=120).returncode == 3
    assert read()[0]["RVOS_EXIT_CODE"] == "3"
