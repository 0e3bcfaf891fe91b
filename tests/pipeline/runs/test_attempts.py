import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from pipeline.io import storage
from pipeline.runs.attempts import Attempts, Marker, next_retry_step

UNIT = "u"
PAIR = ("v", "0")


@pytest.fixture
def attempts(tmp_path) -> Attempts:
    return Attempts(str(tmp_path / "attempts"), "driver-1", "node-1", lambda node: node == "node-1")


def die(attempts: Attempts, pair=None, **changes) -> None:
    """Leave the marker of an attempt whose process is gone."""
    marker = Marker(invocation=attempts.invocation, node=attempts.node, pid=2**22 + 1, pair=pair)
    marker = replace(marker, **changes)
    storage.create_bytes(f"{attempts.folder}/{UNIT}/{os.urandom(4).hex()}.json", json.dumps(asdict(marker)).encode())


def test_an_attempt_that_ends_in_order_leaves_no_marker(attempts):
    with attempts.attempt(UNIT):
        assert len(storage.names(f"{attempts.folder}/{UNIT}")) == 1
        assert attempts.deaths(UNIT)  # this process lives, but what asks for deaths is a later attempt
    with pytest.raises(RuntimeError), attempts.attempt(UNIT):
        raise RuntimeError
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
    monkeypatch.setattr(storage, "names", lambda folder: ["done-since.json", *there])
    assert len(attempts.deaths(UNIT)) == 1


def test_the_ladder(attempts):
    def rung():
        return next_retry_step(attempts.deaths(UNIT))

    assert not rung().alone
    die(attempts)
    assert not rung().alone
    die(attempts)
    assert rung().alone
    assert rung().given_up == {}
    die(attempts, PAIR)
    assert rung().given_up == {}
    die(attempts, PAIR)
    die(attempts, ("v", "1"))
    assert set(rung().given_up) == {PAIR}
    status, text = rung().given_up[PAIR]
    assert status == "crash"
    assert "died 2 times" in text


def test_a_death_by_the_time_limit_is_a_timeout(attempts):
    for _ in range(2):
        die(attempts)
        die(attempts, PAIR, timeout=10.0, timed_out=True)
    status, text = next_retry_step(attempts.deaths(UNIT)).given_up[PAIR]
    assert status == "timeout"
    assert "not done after 10 s" in text


def test_a_hanging_process_ends_itself_and_leaves_its_marker(tmp_path):
    code = """if True:
        import sys, time
        from pipeline.runs.attempts import Attempts
        attempts = Attempts(sys.argv[1], "driver-1", "node-1", lambda node: True, timeout=0.5)
        with attempts.attempt("u") as limit, limit:
            time.sleep(60)
    """
    folder = str(tmp_path / "attempts")
    started = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code, folder], check=False).returncode != 0
    assert time.monotonic() - started < 50
    (death,) = Attempts(folder, "driver-1", "node-1", lambda node: True).deaths("u")
    assert death.timed_out
