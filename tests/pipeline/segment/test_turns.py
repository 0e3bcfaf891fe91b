"""Which hosts the driver leaves out, and when it gives up."""

import pytest

from pipeline.segment import turns
from pipeline.segment.actor import UnitAnswer
from pipeline.segment.turns import Hosts
from schemas.errors import InfrastructureError, InputError

BAD = {"failed": True, "reason": "the disk is full", "exit_code": 3}
BLIND = {"blind": True, "reason": "/mnt/v.mp4 does not exist there"}
DONE = {"receipt": "{}", "frames": 5}


@pytest.fixture
def hosts(monkeypatch) -> Hosts:
    nodes = [{"NodeID": name, "Alive": name != "dead", "Resources": {"CPU": 1.0}} for name in ("a", "b", "dead")]
    monkeypatch.setattr(turns.ray, "nodes", lambda: [*nodes, {"NodeID": "head", "Alive": True, "Resources": {}}])
    return Hosts(needs_gpu=False)


def note(hosts: Hosts, node: str, **values) -> None:
    hosts.note(UnitAnswer(unit_id="u", node=node, **values))


def test_a_bad_host_is_left_out_until_no_other_is_left(hosts):
    assert hosts.label_selector is None
    note(hosts, "a", **BAD)
    hosts.end_turn()
    assert hosts.label_selector == {"ray.io/node-id": "!in(a)"}
    with pytest.raises(InfrastructureError, match="the disk is full"):
        note(hosts, "b", **BAD)


def test_the_error_of_wrong_input_keeps_its_exit_code(hosts):
    note(hosts, "a", **BAD)
    with pytest.raises(InputError, match="the disk is full"):
        note(hosts, "b", **BAD | {"exit_code": 2})


def test_several_answers_of_a_bad_host_count_as_one(hosts):
    for _ in range(3):
        note(hosts, "a", **BAD)
    assert set(hosts.bad) == {"a"}


def test_a_host_that_finds_no_videos_is_bad_once_another_one_has_read_some(hosts):
    note(hosts, "a", **BLIND)
    hosts.end_turn()
    assert not hosts.bad
    note(hosts, "b", **DONE)
    hosts.end_turn()
    assert set(hosts.bad) == {"a"}


def test_a_host_without_memory_gets_no_more_units_if_another_has_some(hosts):
    note(hosts, "a", short=True, reason="its memory is full")
    hosts.end_turn()
    assert hosts.label_selector is None
    note(hosts, "b", **DONE)
    hosts.end_turn()
    assert hosts.label_selector == {"ray.io/node-id": "!in(a)"}
    assert not hosts.bad
    note(hosts, "b", short=True, reason="its memory is full")
    hosts.end_turn()
    assert hosts.label_selector is None


def test_a_host_that_has_read_videos_is_not_blamed_for_those_that_do_not_exist(hosts):
    note(hosts, "a", **BLIND)
    note(hosts, "a", **DONE)
    note(hosts, "b", **DONE)
    hosts.end_turn()
    assert not hosts.bad
