"""Which hosts the driver leaves out, and when it gives up."""

import pytest

from pipeline.runs.run import Unit
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


def note(hosts: Hosts, node: str, unit: str = "u", **values) -> None:
    hosts.note(UnitAnswer(unit_id=unit, node=node, **values))


def passes(hosts: Hosts, *units: str) -> dict[str, set[str]]:
    """The nodes that each unit avoids in the next turn."""
    parts = hosts.divide([Unit(unit, part=0, start=0, stop=1, pair_frames=1) for unit in units])
    return {unit.unit_id: avoided for avoided, part in parts for unit in part}


def test_a_bad_host_is_left_out_until_no_other_is_left(hosts):
    assert hosts.label_selector(set()) is None
    note(hosts, "a", **BAD)
    hosts.end_turn()
    assert hosts.label_selector(set()) == {"ray.io/node-id": "!in(a)"}
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


def test_a_host_where_a_pair_failed_gets_no_more_units_if_another_can_work(hosts):
    note(hosts, "a", "u", moves=True)
    assert passes(hosts, "u", "v") == {"u": set(), "v": set()}  # no other host has answered yet
    note(hosts, "b", "w", **DONE)
    assert passes(hosts, "u", "v") == {"u": {"a"}, "v": {"a"}}
    assert hosts.label_selector({"a"}) == {"ray.io/node-id": "!in(a)"}
    assert not hosts.bad


def test_hosts_where_pairs_failed_exchange_their_units(hosts):
    note(hosts, "a", "u", moves=True)
    note(hosts, "a", "w", **DONE)
    note(hosts, "b", "v", moves=True)
    assert passes(hosts, "u", "v", "x") == {"u": {"a"}, "v": {"b"}, "x": {"b"}}


def test_units_do_not_move_to_hosts_that_are_bad_or_gone(hosts):
    note(hosts, "dead", "w", **DONE)
    note(hosts, "a", "u", moves=True)
    note(hosts, "b", "w", **BAD)
    assert passes(hosts, "u") == {"u": set()}
    assert hosts.label_selector(set()) == {"ray.io/node-id": "!in(b)"}


def test_a_host_that_has_read_videos_is_not_blamed_for_those_that_do_not_exist(hosts):
    note(hosts, "a", **BLIND)
    note(hosts, "a", **DONE)
    note(hosts, "b", **DONE)
    hosts.end_turn()
    assert not hosts.bad
