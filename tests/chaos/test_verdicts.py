"""No video is blamed for what its machine does."""

import contextlib
import os
import signal
import time

import pytest

from tests.chaos.case import end_of, polls

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

SECONDS = 45.0


def test_workers_that_are_killed_from_outside_leave_no_crash_rows(corpus, cluster, undisturbed, tmp_path):
    """Every process with a marker is killed within a second, as the memory monitor of Ray does."""
    case = corpus.but(run=str(tmp_path / "run"), address=cluster.address)
    driver, kills = case.start("--actors", "1", "--limit", "6"), 0
    began: float | None = None
    for _ in polls(driver):
        for marker in case.attempts().values():
            began = began or time.monotonic()
            if time.monotonic() - began < SECONDS and not marker["unit"].startswith("_"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(marker["pid"], signal.SIGKILL)
                    kills += 1
        time.sleep(0.5)
    end_of(driver)
    assert kills >= 3
    case.but(address=cluster.address).finish()
    case.assert_whole(undisturbed, f"{kills} kills of workers from outside in {SECONDS:.0f} s")
