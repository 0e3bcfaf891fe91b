import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.io import storage
from pipeline.runs.attempts import AttemptTracker, Marker, TrackerClosedError, sweep
from pipeline.runs.retry_step import next_retry_step
from tests.died import PAIR, UNIT, die


@pytest.fixture
def attempts(tmp_path) -> AttemptTracker:
    return AttemptTracker(str(tmp_path / "attempts"), "driver-1", "node-1", lambda node: node == "node-1")


def markers(attempts: AttemptTracker) -> list[str]:
    return storage.names(f"{attempts.folder}/{UNIT}")


def test_an_attempt_has_a_marker_until_it_ends(attempts):
    attempt = attempts.begin(UNIT)
    assert len(markers(attempts)) == 1
    assert attempts.deaths(UNIT)  # this process is alive, but a later attempt of it asks for deaths
    attempts.end(attempt)
    assert attempts.deaths(UNIT) == []
    attempts.begin(UNIT)
    attempts.close()
    assert attempts.deaths(UNIT) == []


def test_only_deaths_that_driver_and_node_outlived_count(attempts):
    die(attempts)
    assert len(attempts.deaths(UNIT)) == 1
    die(attempts, invocation="driver-0")  # that driver may have died first
    die(attempts, node="node-2")  # preempted
    die(attempts, pid=os.getppid())  # alive
    assert len(attempts.deaths(UNIT)) == 1


def test_an_attempt_of_another_driver_may_end_while_markers_are_read(attempts, monkeypatch):
    die(attempts)
    there = storage.names(f"{attempts.folder}/{UNIT}")
    monkeypatch.setattr(storage, "names", lambda folder, missing_ok: ["done-since.json", *there])
    assert len(attempts.deaths(UNIT)) == 1


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"pair": 3, "invocation": "i", "node": "n"}']
)
def test_a_damaged_marker_stops_nobody(attempts, content):
    die(attempts)
    storage.write_bytes(f"{attempts.folder}/{UNIT}/damaged.json", content)
    assert len(attempts.deaths(UNIT)) == 1


ODD = [
    {"pid": "1"}, {"pid": [1]}, {"pid": 1.5}, {"pid": True}, {"pid": -1}, {"pid": 0}, {"pid": 2**70},
    {"pair": [["v"], ["0"]]}, {"pair": {"v": "0"}}, {"pair": ["v", "0", "1"]}, {"pair": [1, 2]},
    {"timeout": "60"}, {"timeout": float("inf")}, {"node": ["n"]}, {"gpu": {}}, {"host": 1}, {"reason": ["x"]},
    {"started": None}, {"timed_out": 1}, {"is_control": "no"}, {"invocation": {}},
]  # fmt: skip


@pytest.mark.parametrize("values", ODD, ids=str)
def test_a_marker_of_other_types_stops_nobody_and_is_swept(attempts, values):
    folder = f"{attempts.folder}/{UNIT}"
    here = asdict(Marker(invocation=attempts.invocation, node=attempts.node, pair=PAIR, timed_out=True, timeout=1.0))
    for number in range(4):
        storage.write_bytes(f"{folder}/{number:032x}.json", json.dumps(here | values).encode())
    history = attempts.history(UNIT)
    next_retry_step(history, others_can_try=True)
    assert not history.is_busy
    sweep(attempts.folder, {UNIT})
    assert storage.names(attempts.folder) == []


def test_a_sweep_removes_markers_only(attempts, tmp_path):
    folder = Path(attempts.folder) / UNIT
    (folder / f"{1:032x}.json").mkdir(parents=True)
    (folder / f"{2:032x}.json").symlink_to(tmp_path)
    os.mkfifo(folder / f"{3:032x}.json")
    (folder / "thesis.json").write_text("{}")
    assert attempts.history(UNIT).lost == []
    sweep(attempts.folder, {UNIT})
    assert markers(attempts) == [f"{1:032x}.json", "thesis.json"]


def test_a_marker_of_a_newer_version_counts(attempts):
    marker = asdict(Marker(invocation=attempts.invocation, node=attempts.node, pid=2**22 + 1)) | {"colour": "red"}
    storage.write_bytes(f"{attempts.folder}/{UNIT}/newer.json", json.dumps(marker).encode())
    assert len(attempts.deaths(UNIT)) == 1


def test_a_hanging_process_ends_itself_and_leaves_its_marker(tmp_path):
    code = """if True:
        import sys, time
        from pipeline.runs.attempts import AttemptTracker
        attempts = AttemptTracker(sys.argv[1], "driver-1", "node-1", lambda node: True, timeout=0.5)
        attempt = attempts.begin("u")
        attempt.start_clock()
        attempt.stop_clock()
        time.sleep(1)
        attempt.start_clock()
        time.sleep(60)
    """
    folder = str(tmp_path / "attempts")
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode != 0
    assert time.monotonic() - started < 50
    (death,) = AttemptTracker(folder, "driver-1", "node-1", lambda node: True).deaths("u")
    assert death.timed_out


def begin_later(attempts: AttemptTracker, unit: str, *, exclusive: bool) -> threading.Event:
    """Set when the attempt has begun."""
    begun = threading.Event()

    def work():
        attempts.begin(unit, exclusive=exclusive)
        begun.set()

    threading.Thread(target=work, daemon=True).start()
    return begun


def test_attempts_without_suspicion_overlap(attempts):
    a, b = (attempts.begin(unit) for unit in "ab")
    units = [folder for folder in "ab" if storage.names(f"{attempts.folder}/{folder}")]
    assert units == ["a", "b"]
    attempts.end(a)
    attempts.end(b)
    assert not storage.names(f"{attempts.folder}/a")


@pytest.mark.parametrize(("first", "second"), [(False, True), (True, False), (True, True)])
def test_an_exclusive_attempt_is_alone_in_its_process(attempts, first, second):
    a = attempts.begin("a", exclusive=first)
    begun = begin_later(attempts, "b", exclusive=second)
    assert not begun.wait(0.2)
    assert not storage.is_folder(f"{attempts.folder}/b")
    attempts.end(a)
    assert begun.wait(60)
    assert not storage.names(f"{attempts.folder}/a")
    assert storage.names(f"{attempts.folder}/b")


def test_closing_ends_every_attempt_also_if_one_fails(attempts, monkeypatch):
    for unit in "abc":
        attempts.begin(unit)
    remove, failed = storage.remove, []

    def fail_once(uri):
        if not failed:
            failed.append(uri)
            raise OSError("disk gone")
        remove(uri)

    monkeypatch.setattr(storage, "remove", fail_once)
    with pytest.raises(OSError, match="disk gone"):
        attempts.close()
    assert sum(len(storage.names(f"{attempts.folder}/{unit}")) for unit in "abc") == 1


def test_closing_wakes_an_attempt_that_waits(attempts):
    raised = threading.Event()

    def work():
        with pytest.raises(TrackerClosedError):
            attempts.begin("b", exclusive=True)
        raised.set()

    attempts.begin("a")
    threading.Thread(target=work, daemon=True).start()
    attempts.close()
    assert raised.wait(60)
    assert not storage.names(f"{attempts.folder}/a")
