"""Which hosts and GPUs the driver leaves out, and when it gives up."""

import pytest

from pipeline.runs.attempts import Place
from pipeline.runs.run import Unit
from pipeline.segment import places
from pipeline.segment.actor import UnitAnswer
from pipeline.segment.places import Places
from schemas.errors import InfrastructureError, InputError

BAD = {"failed": True, "reason": "the disk is full", "exit_code": 3}
BLIND = {"absent": True, "blind": True, "reason": "/mnt/v.mp4 does not exist there"}
A, B = Place("a"), Place("b")
DONE = {"receipt": "{}", "frames": 5}


@pytest.fixture
def hosts(monkeypatch) -> Places:
    """Two nodes of one CPU, a dead one, and a head that works on nothing. All CPUs are taken by others."""
    nodes = [{"NodeID": name, "Alive": name != "dead", "Resources": {"CPU": 1.0}} for name in ("a", "b", "dead")]
    on_cluster(monkeypatch, [*nodes, {"NodeID": "head", "Alive": True, "Resources": {}}], {})
    return Places()


@pytest.fixture
def gpus(monkeypatch) -> Places:
    """One node of three GPUs, all of them free."""
    on_cluster(monkeypatch, [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 3.0}}], {"GPU": 3.0})
    return Places(gpus_per_actor=1.0)


def on_cluster(monkeypatch, nodes: list[dict], free: dict) -> None:
    monkeypatch.setattr(places, "FREE_SECONDS", 0.0)
    monkeypatch.setattr(places.ray, "nodes", lambda: nodes)
    monkeypatch.setattr(places.ray, "available_resources", lambda: free)


def note(hosts: Places, node: str, unit: str = "u", **values) -> None:
    hosts.note(UnitAnswer(unit_id=unit, node=node, **values))


def passes(hosts: Places, *units: str) -> dict[str, set[Place]]:
    """The places that each unit avoids in the next turn."""
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
    assert set(hosts.bad) == {A}


def test_a_host_that_finds_no_videos_is_bad_once_another_one_has_read_some(hosts):
    note(hosts, "a", **BLIND)
    hosts.end_turn()
    assert not hosts.bad
    note(hosts, "b", **DONE)
    hosts.end_turn()
    assert set(hosts.bad) == {A}


def test_a_host_where_a_pair_failed_gets_no_more_units_if_another_can_work(hosts):
    note(hosts, "a", "u", moves=True)
    assert passes(hosts, "u", "v") == {"u": set(), "v": set()}  # no other host has answered yet
    note(hosts, "b", "w", **DONE)
    assert passes(hosts, "u", "v") == {"u": {A}, "v": {A}}
    assert hosts.label_selector({A}) == {"ray.io/node-id": "!in(a)"}
    assert not hosts.bad


def test_hosts_where_pairs_failed_exchange_their_units(hosts):
    note(hosts, "a", "u", moves=True)
    note(hosts, "a", "w", **DONE)
    note(hosts, "b", "v", moves=True)
    assert passes(hosts, "u", "v", "x") == {"u": {A}, "v": {B}, "x": {B}}


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


def test_a_unit_goes_to_a_host_that_has_not_answered_yet_if_it_is_free(hosts, monkeypatch):
    note(hosts, "a", "u", moves=True)
    monkeypatch.setattr(places.ray, "available_resources", lambda: {"CPU": 2.0})
    assert passes(hosts, "u") == {"u": {A}}


def test_a_bad_gpu_is_left_out_until_no_other_is_left(gpus):
    for number in range(2):
        note(gpus, "a", gpu=f"{number}", **BAD)
        assert gpus.label_selector(set()) is None
    assert gpus.gpus_to_hold(set()) == {Place("a", "0"), Place("a", "1")}
    with pytest.raises(InfrastructureError, match="the disk is full"):
        note(gpus, "a", gpu="2", **BAD)


def test_gpus_that_are_too_few_for_an_actor_are_no_place(gpus):
    gpus.gpus_per_actor = 2.0
    note(gpus, "a", gpu="0", **BAD)
    with pytest.raises(InfrastructureError, match="the disk is full"):
        note(gpus, "a", gpu="1", **BAD)


def test_a_unit_goes_to_another_gpu_of_the_host(gpus):
    note(gpus, "a", "u", gpu="0", moves=True)
    assert passes(gpus, "u") == {"u": {Place("a", "0")}}  # the others are free
    note(gpus, "a", "v", gpu="1", moves=True)
    note(gpus, "a", "w", gpu="2", **DONE)
    avoided = {Place("a", "0"), Place("a", "1")}
    assert passes(gpus, "u", "v") == {"u": avoided, "v": avoided}
    assert (gpus.label_selector(avoided), gpus.gpus_to_hold(avoided)) == (None, avoided)


def test_a_host_whose_gpus_are_all_bad_is_left_out_as_a_whole(gpus, monkeypatch):
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"GPU": 2.0}} for name in "ab"]
    on_cluster(monkeypatch, nodes, {})
    for number in range(2):
        note(gpus, "a", gpu=f"{number}", **BAD)
    note(gpus, "b", gpu="0", **BAD)
    assert gpus.label_selector(set()) == {"ray.io/node-id": "!in(a)"}
    assert gpus.gpus_to_hold(set()) == {Place("b", "0")}


def test_a_host_with_gpus_that_finds_no_videos_is_left_out_as_a_whole(gpus, monkeypatch):
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"GPU": 2.0}} for name in "ab"]
    on_cluster(monkeypatch, nodes, {})
    note(gpus, "a", gpu="1", **BLIND)
    note(gpus, "b", gpu="0", **DONE)
    gpus.end_turn()
    assert set(gpus.bad) == {A}
    assert gpus.label_selector(set()) == {"ray.io/node-id": "!in(a)"}
    assert gpus.gpus_to_hold(set()) == set()


def test_a_video_that_one_host_does_not_find_is_looked_for_on_another_host(gpus, monkeypatch):
    """Not on another GPU of the same one."""
    nodes = [{"NodeID": name, "Alive": True, "Resources": {"GPU": 2.0}} for name in "ab"]
    on_cluster(monkeypatch, nodes, {})
    for node in "ab":
        for gpu in "01":
            note(gpus, node, f"{node}{gpu}", gpu=gpu, **DONE)
    note(gpus, "a", "u", gpu="0", absent=True, reason="/mnt/v.mp4 does not exist there")
    gpus.end_turn()
    assert passes(gpus, "u") == {"u": {A}}
    assert gpus.label_selector({A}) == {"ray.io/node-id": "!in(a)"}
    note(gpus, "b", "v", gpu="1", absent=True, reason="/mnt/w.mp4 does not exist there")
    gpus.end_turn()
    avoided = passes(gpus, "u", "v")
    assert {unit: {place.node for place in found} for unit, found in avoided.items()} == {"u": {"a"}, "v": {"b"}}
    assert gpus.label_selector(avoided["u"]) == {"ray.io/node-id": "!in(a)"}
    assert not gpus.bad
