"""No video is blamed for what its machine does."""

import contextlib
import os
import signal

import pytest

from tests.chaos.case import end_of, polls

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

CONTROLS = 2


def test_workers_that_are_killed_from_outside_leave_no_crash_rows(corpus, cluster, undisturbed, tmp_path):
    """Each process that shows a marker of a unit is killed at once, as the memory monitor of Ray does.

    The kills fall on the unit twice, on a lone pair, and then on controls: the last two.
    """
    case = corpus.but(run=str(tmp_path / "run"), address=cluster.address)
    driver, kills = case.start("--actors", "1", "--limit", "3"), {}
    for _ in polls(driver):
        for marker in case.attempts().values():
            if marker["pid"] not in kills and sum(killed["is_control"] for killed in kills.values()) < CONTROLS:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(marker["pid"], signal.SIGKILL)
                    kills[marker["pid"]] = marker
    end_of(driver)
    assert sum(killed["is_control"] for killed in kills.values()) == CONTROLS
    case.finish()
    case.assert_whole(undisturbed, f"{len(kills)} kills of workers from outside")
