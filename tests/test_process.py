"""The process around a command: its streams, its working folder, its memory and threads."""

import os
import re
import subprocess
import sys

import pytest

import refervos

SYNTH = "synth --out data --videos 1 --frames 2"


def in_shell(words, redirection, folder, **environment):
    """`rvos WORDS` as a process of its own, started by a shell in `folder`."""
    command = f'"{sys.executable}" -c "from refervos import main; main()" {words} {redirection}'
    environment = os.environ | {"PYTHONPATH": refervos.OWN_FOLDER} | environment
    shell = ["bash", "-c", command, sys.executable]
    return subprocess.run(shell, cwd=folder, env=environment, timeout=120, capture_output=True, text=True)


def test_a_closed_stderr_is_no_failure(tmp_path):
    """Exit code 1 says that pairs failed."""
    assert in_shell("status nowhere", "2>&-", tmp_path).returncode == 2


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["--version", "--help", "plan -h", "evaluate --explain mevis", f"{SYNTH} --json"])
def test_a_full_stdout_ends_with_one_line(words, unbuffered, tmp_path):
    done = in_shell(words, "> /dev/full", tmp_path, PYTHONUNBUFFERED=unbuffered)
    *progress, last = done.stderr.splitlines()
    assert last == "Error: standard output cannot be written: No space left on device"
    assert all(" synth: " in line for line in progress)
    assert done.returncode == 3


def test_a_full_stderr_does_not_change_the_exit_code(tmp_path):
    assert in_shell("status nowhere", "2> /dev/full", tmp_path).returncode == 2
    assert in_shell("nothing", "2> /dev/full", tmp_path).returncode == 2
    assert in_shell(SYNTH, "2> /dev/full", tmp_path).returncode == 0


def test_a_closed_stdout_is_told(tmp_path):
    done = in_shell(SYNTH, ">&-", tmp_path)
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, last) == (3, "Error: standard output cannot be written: it is closed")


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path):
    """Libraries print to these numbers."""
    show = "import os, refervos, cli; cli.main = lambda **_: print(os.open('/dev/null', 0)); refervos.main()"
    command = ["bash", "-c", f'"{sys.executable}" -c "{show}" 0<&- 2>&-']
    environment = os.environ | {"PYTHONPATH": refervos.OWN_FOLDER}
    done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, capture_output=True, text=True)
    assert int(done.stdout) > 2


def test_a_closed_pipe_ends_quietly(tmp_path):
    done = in_shell("--help", "| true; exit ${PIPESTATUS[0]}", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("words", [SYNTH, "plan manifest.parquet", "submit --address http://127.0.0.1:1 -- status run"])
def test_a_deleted_working_folder_is_named(words, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    done = in_shell("--version", f"&& rmdir {folder} && \"$0\" -c 'from refervos import main; main()' {words}", folder)
    assert done.stderr.startswith("Error: the working folder does not exist any more; ")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("x.so: failed to map segment from shared object"),
    ],
)
def test_a_process_without_memory_or_threads_ends_with_one_line(error, monkeypatch, capsys):
    def fail(**_):
        raise error

    monkeypatch.setattr("cli.main", fail)
    monkeypatch.setattr("jobs.terminal.output.guard_streams", lambda: None)
    with pytest.raises(SystemExit, match="3"):
        refervos.main()
    assert re.fullmatch(r"Error: not enough memory or threads .*ulimit -a.*\n", capsys.readouterr().err)


def test_other_unexpected_errors_keep_their_traceback(monkeypatch):
    def fail(**_):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("cli.main", fail)
    monkeypatch.setattr("jobs.terminal.output.guard_streams", lambda: None)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        refervos.main()
