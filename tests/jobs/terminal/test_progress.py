"""Every command says at once on a terminal that it works, and now and then in a log."""

import os
import pty
import subprocess
import sys
import threading

import pytest

from jobs.terminal import progress

SLOW_COMMAND = """
import time
from jobs.terminal import progress

progress.FIRST_SECONDS = 0.02
with progress.live_line("check"):
    time.sleep(0.5)
"""


def test_a_live_line_on_a_terminal(tmp_path):
    """Also of a command without counts, before its modules are imported; it is gone at the end."""
    command = [sys.executable, "-m", "cli", "check", str(tmp_path / "absent.parquet")]
    first, last = _on_terminal(command).split("check: working", 1)
    assert "absent.parquet" not in first
    assert "\x1b[2K" in last  # the line is erased
    assert last.rstrip().splitlines()[-1].endswith("correct the path")


def test_the_time_is_seen_on_a_narrow_terminal():
    code = SLOW_COMMAND.replace('"check"', '"check" * 9')
    text = _on_terminal([sys.executable, "-c", code], COLUMNS="20")
    assert "0:00:00" in text


@pytest.mark.parametrize(
    ("name", "value"), [("TERM", "dumb"), ("TERM", "unknown"), ("TTY_COMPATIBLE", "0"), ("TTY_INTERACTIVE", "0")]
)
def test_log_lines_on_a_terminal_that_cannot_rewrite_a_line(name, value):
    """Where a live line would not be shown at all."""
    text = _on_terminal([sys.executable, "-c", SLOW_COMMAND], **{name: value})
    assert "check: working · 0:00\r\n" in text
    assert "\x1b" not in text


def _on_terminal(command: list[str], **environment: str) -> str:
    """Run a command on a terminal; returns what that has received."""
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm"} | environment
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=env):
        os.close(theirs)
        text = b""
        while chunk := _read(ours):
            text += chunk
    os.close(ours)
    return text.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


@pytest.fixture
def printed(capsys, monkeypatch):
    """Wait for so many lines in the log."""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.02)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.02)
    lines: list[str] = []
    came = threading.Condition()

    def note(text: str, **_) -> None:
        with came:
            lines.append(text)
            came.notify_all()

    monkeypatch.setattr(progress, "print", note, raising=False)

    def wait(count: int) -> list[str]:
        with came:
            assert came.wait_for(lambda: len(lines) >= count, 60)
            return lines

    return wait


def test_lines_in_a_log(printed):
    with progress.live_line("check"):
        assert "check: working · 0:00" in printed(2)[-1]
        progress.count("videos checked")(1, 4)
        known = len(printed(2))
        assert "check: 1 of 4 videos checked (25 %)" in printed(known + 2)[-1]


def test_the_first_line_in_a_log_comes_before_there_is_news(printed, monkeypatch):
    monkeypatch.setattr(progress, "LOG_SECONDS", 3600.0)
    with progress.live_line("check"):
        (line,) = printed(1)
        assert "check: working · 0:00" in line
        progress.update("1 of 4 videos checked")
        assert "check: 1 of 4 videos checked · " in printed(2)[1]
        progress.update("2 of 4 videos checked")
    assert len(printed(2)) == 2


def test_a_short_command_prints_no_line(capsys, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 3600.0)
    with progress.live_line("status"):
        progress.update("soon done")
    assert capsys.readouterr().err == ""


def test_the_end_of_a_run_is_said_at_once(capsys):
    with progress.live_line("segment"):
        progress.show_run(progress.RunProgress(1, 2, 10, 20, frames=10, failed=0, seconds=1.0))
        progress.show_run(progress.RunProgress(2, 2, 20, 20, frames=20, failed=1, seconds=2.0))
    (line,) = capsys.readouterr().err.splitlines()
    assert "segment: 2/2 pairs · 10.0 frames/s · 1 failed" in line


def test_the_eta_counts_down_until_its_time_is_over():
    state = progress.RunProgress(1, 2, 10, 20, frames=10, failed=0, seconds=90.0)
    assert state.line() == "1/2 pairs · 0.1 frames/s · ETA 1:30 · 0 failed"
    assert state.line(later=60.0) == "1/2 pairs · 0.1 frames/s · ETA 0:30 · 0 failed"
    assert state.line(later=91.0) == "1/2 pairs · 0.1 frames/s · 0 failed"


def test_the_line_of_a_run_is_made_anew_each_time_it_is_shown(monkeypatch):
    shown, seconds = [], iter([100.0, 110.0, 130.0])
    monkeypatch.setattr(progress, "_update", lambda text, at_once: shown.append(text))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(seconds))
    progress.show_run(progress.RunProgress(1, 2, 10, 20, frames=10, failed=0, seconds=90.0))
    assert [str(shown[0]).split(" · ")[2] for _ in range(2)] == ["ETA 1:20", "ETA 1:00"]


def test_nothing_outside_of_a_command(capsys):
    progress.update("alone", at_once=True)
    assert capsys.readouterr().err == ""
