"""No video is blamed for what its machine does."""

import contextlib
import os
import signal
import time

import pytest

from tests.chaos.case import Case, end_of, polls, wait_until

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


def test_a_unit_of_killed_drivers_comes_last(corpus, cluster, undisturbed, tmp_path):
    """As a unit that takes its container with it: the driver dies whenever this unit is under way."""
    case: Case = corpus.but(run=str(tmp_path / "run"), address=cluster.address)
    blamed: list[str] = []
    done, ended = [], set()

    def under_way() -> bool:
        units = [marker["unit"] for marker in case.attempts().values() if marker["invocation"] not in ended]
        blamed.extend(units[: 1 - len(blamed)])
        return bool(blamed) and blamed[0] in units

    for _ in range(2):
        driver = case.start("--actors", "1")
        wait_until(under_way, driver)
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        done.append(len(case.committed()))
        ended |= {marker["invocation"] for marker in case.attempts().values()}
    case.finish()
    case.assert_whole(undisturbed, f"a unit that ended its driver twice; units done at each death: {done}")
    assert done[1] >= 11  # all but those in work when the first driver died
