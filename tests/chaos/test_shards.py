"""Shards of one run that are killed, overlap and resume, without knowing of each other."""

import signal

import pytest

from tests.chaos.case import VIDEOS, Case, end_of, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_killed_shards_that_resume(corpus: Case, cluster, undisturbed, tmp_path):
    """Two shards create the run at once and are killed. Then two commands do one shard at once, and one the other."""
    case = corpus.but(run=str(tmp_path / "run"), address=cluster.address)
    drivers = [case.start("--shard", f"{number}/2", "--actors", "1") for number in (1, 2)]
    wait_until(lambda: len(case.committed()) >= 4, drivers[0])
    for driver in drivers:
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
    before = case.committed()
    assert 4 <= len(before) < VIDEOS
    for end in [end_of(driver) for driver in [case.start("--shard", "1/2", "--actors", "1") for _ in range(2)]]:
        assert "shard   1/2: 24 of the 48 pairs of the run; open in other shards: " in end[0]
    out, _ = case.finish("--shard", "2/2")
    assert "shard   2/2: 24 of the 48 pairs of the run; the run is complete" in out
    assert before <= case.committed()
    case.assert_whole(undisturbed, "two kills of shards, and two commands on one shard")
