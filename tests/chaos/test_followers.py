"""SIGKILL of an actor and of the driver while SAM 2, which follows objects, refines masks."""

import os
import signal

import pytest

from tests.chaos.case import Case, wait_until
from tests.tiny_sam import write_sam2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def case(corpus, cluster, tmp_path) -> Case:
    """A run to disturb, and the finished run that it refines."""
    first = corpus.but(run=str(tmp_path / "first"), address=cluster.address)
    first.finish()
    checkpoint = write_sam2(tmp_path / "sam2")
    return first.but(run=str(tmp_path / "run"), checkpoint=checkpoint, words=("refine", first.run), options=())


def test_masks_are_those_of_an_undisturbed_run(case, tmp_path):
    """Kill an actor with units in flight, then the driver; the repeated command ends with the same rows."""
    whole = case.but(run=str(tmp_path / "whole"))
    whole.finish()
    driver = case.start()
    wait_until(lambda: len(case.committed()) >= 1 and case.attempts(), driver)
    killed = next(iter(case.attempts().values()))["pid"]
    os.kill(killed, signal.SIGKILL)
    before = len(case.committed())
    wait_until(lambda: len(case.committed()) >= before + 2, driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    assert driver.returncode == -signal.SIGKILL, "the run ended before the kill"
    case.finish()
    case.assert_whole(whole.rows(), "kills of an actor and of the driver")
