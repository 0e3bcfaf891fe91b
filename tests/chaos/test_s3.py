"""A run on S3 whose server dies, or whose every third request goes wrong."""

import time

import pytest

from tests.chaos.case import end_of, wait_until
from tests.proxy import EVERYDAY, Proxy, at_random
from tests.s3_server import environment

pytestmark = [pytest.mark.chaos, pytest.mark.s3, pytest.mark.timeout(900)]


@pytest.fixture
def case(corpus_on_s3, s3, cluster, tmp_path):
    return corpus_on_s3.but(run=f"{s3}/{tmp_path.name}/run", address=cluster.address)


def test_the_server_is_killed_and_comes_back(case, server, undisturbed):
    driver, moments = case.start(), (1, 8)
    for moment in moments:
        wait_until(lambda moment=moment: len(case.committed()) >= moment, driver)
        server.kill()
        time.sleep(3)
        server.start()
    end_of(driver)
    case.assert_whole(undisturbed, f"{len(moments)} kills of the S3 server, 3 s each")


def test_a_bad_line(case, server, undisturbed):
    """Videos, checkpoint, plan, markers and masks all cross it, in the driver and in the actors."""
    seed = 7
    with Proxy(server.ports["s3"], at_random(seed)) as between:
        case.but(extra=environment(between.port)).finish("--actors", "2")
        share = between.faults.total() / between.requests
    assert set(between.faults) == set(EVERYDAY)
    assert 0.2 < share < 0.4
    faults = f"{between.faults.total()} faults in {between.requests} requests, seed {seed}: {dict(between.faults)}"
    case.assert_whole(undisturbed, faults)
