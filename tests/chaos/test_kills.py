"""SIGKILL of actors, drivers and nodes, at any moment and several times over."""

import json
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from jobs import status
from tests.chaos.case import VIDEOS, Case, end_of, polls, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

KILLS = 4


def test_actors(case, undisturbed):
    """Kill the process of any attempt in flight: of a unit twice, of a single pair once, so that no pair fails.

    A process has several attempts in flight. One kill counts against all of them. What Ray says of its dead processes
    goes to stderr: stdout holds the result alone.
    """
    driver, killed, blows = case.start("--actors", "2", "--json"), set(), Counter()
    for _ in polls(driver):
        for marker in case.attempts().values():
            pair = marker["pair"] and tuple(marker["pair"])
            if len(killed) < KILLS and marker["pid"] not in killed and blows[marker["unit"], pair] < (1 if pair else 2):
                killed.add(marker["pid"])
                blows[marker["unit"], pair] += 1
                os.kill(marker["pid"], signal.SIGKILL)
    out, _ = end_of(driver)
    assert json.loads(out)["failed"] == {}
    assert len(killed) == KILLS
    case.assert_whole(undisturbed, f"{len(killed)} kills of actors, on {len(blows)} units or pairs")


def test_drivers(case, undisturbed):
    """Kill the driver at five random moments, on S3 at three, each later in the run."""
    seed, kills = (20, 3) if case.run.startswith("s3") else (10, 5)
    chance = random.Random(seed)
    moments = sorted(chance.sample(range(14), kills))
    for moment in moments:
        driver = case.start()
        wait_until(lambda moment=moment: len(case.committed()) >= moment, driver)
        time.sleep(chance.uniform(0, 1 if moment else 5))
        driver.send_signal(signal.SIGKILL)
        driver.communicate()
        assert driver.returncode == -signal.SIGKILL, "the run ended before the kill"
        before = case.committed()
    case.finish()
    assert before <= case.committed()
    case.assert_whole(undisturbed, f"{kills} kills of the driver, seed {seed}, after {moments} units and up to 5 s")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)],
    ids=["term", "int", "hup"],
)
def test_drivers_that_are_asked_to_end(corpus, cluster, undisturbed, tmp_path, number, code):
    """Spot preemption, Ctrl-C and a lost terminal, of a driver with its own Ray session."""
    case = corpus.but(run=str(tmp_path / "run"))
    driver = case.start()
    wait_until(case.committed, driver)
    driver.send_signal(number)
    _, messages = end_of(driver, code)
    assert messages.splitlines()[-1] == "Interrupted. Finished work is kept; repeat the command to resume."
    assert "raylet" not in messages
    assert status.run(status.StatusConfig(run=case.run)).state == "interrupted"
    assert 0 < len(case.committed()) < VIDEOS
    case.but(address=cluster.address).finish()
    case.assert_whole(undisturbed, f"signal {number}")


def test_nodes(corpus, cluster, undisturbed, tmp_path):
    """Kill two of three raylets in turn, with their actors and attempts in flight.

    No video opens before the second kill, so that both have work however late they start.
    """
    shutil.copytree(Path(corpus.manifest).parent, tmp_path / "corpus")
    closed = tmp_path / "corpus" / "videos" / "closed"
    closed.touch()
    manifest = str(tmp_path / "corpus" / Path(corpus.manifest).name)
    case = corpus.but(manifest=manifest, run=str(tmp_path / "run"), address=cluster.address)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80_000_000) for _ in range(2)]
    try:
        driver = case.start("--actors", "4")
        for node in list(nodes):
            wait_until(lambda node=node: any(m["node"] == node.node_id for m in case.attempts().values()), driver)
            cluster.remove_node(node, allow_graceful=False)
            nodes.remove(node)
        closed.unlink()
        end_of(driver)
    finally:
        closed.unlink(missing_ok=True)
        for node in nodes:
            cluster.remove_node(node)
    case.assert_whole(undisturbed, "2 kills of nodes out of 3")


def test_two_drivers_at_the_same_time(case: Case, undisturbed):
    drivers = [case.start(), case.start()]
    for driver in drivers:
        end_of(driver)
    case.assert_whole(undisturbed, "two drivers at once")
