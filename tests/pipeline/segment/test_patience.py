"""A command that finishes nothing for a while says what it waits for, or gives up."""

import json
import os
import socket
import threading
from dataclasses import asdict

import pytest

from pipeline.io import storage
from pipeline.runs.attempts import Marker
from pipeline.runs.run import Run
from pipeline.segment.patience import what_is_waited_for, with_patience
from schemas.errors import InfrastructureError

NODE = {"NodeID": "node", "Alive": True, "Resources": {"CPU": 2.0}}


@pytest.fixture
def run(tmp_path) -> Run:
    return Run.start(str(tmp_path / "run"), "f", {}, {})


def attempt(run: Run, **changes) -> None:
    marker = Marker(**{"invocation": "i", "node": "node", "pair": ("v", "0")} | changes)
    uri = storage.join(run.folder, "attempts", "u", f"{os.urandom(4).hex()}.json")
    storage.write_bytes(uri, json.dumps(asdict(marker)).encode())


def waited_for(run: Run, nodes=(NODE,), *, needs_gpu=False, is_local=True) -> str:
    return what_is_waited_for(run, "i", needs_gpu, list(nodes), is_local=is_local)


def test_the_oldest_attempt_is_named(run):
    attempt(run, pid=2**22 + 1)  # of a process that is gone
    attempt(run, invocation="other")
    attempt(run, pair=("w", "1"), started=0.0)
    attempt(run)
    text = waited_for(run)
    assert text.startswith("2 attempts are under way, the oldest at the pair video_id=w expression_id=1 on host")
    assert socket.gethostname() in text


def test_waiting_for_processes_that_never_come_ends(run):
    attempt(run, pid=2**22 + 1)
    with pytest.raises(InfrastructureError, match="no process works on a unit on host"):
        waited_for(run)
    assert "may be busy" in waited_for(run, is_local=False)
    assert "no node of the cluster has a GPU" in waited_for(run, needs_gpu=True, is_local=False)
    with pytest.raises(InfrastructureError, match="no node any more"):
        waited_for(run, [NODE | {"Alive": False}], is_local=False)


def test_items_pass_and_silence_is_noticed_again_and_again():
    go, silences = threading.Event(), []

    def items():
        yield 1
        assert go.wait(60)
        yield 2

    def when_over(waited):
        silences.append(waited)
        if len(silences) == 2:
            go.set()

    assert list(with_patience(items(), 0.05, when_over)) == [1, 2]
    assert len(silences) >= 2


def test_errors_pass_and_giving_up_ends_the_wait(interrupts):
    def items():
        yield 1
        raise ValueError("of a worker")

    with pytest.raises(ValueError, match="of a worker"):
        list(with_patience(items(), 60, print))

    def give_up(_):
        raise InfrastructureError("no use")

    def never():
        threading.Event().wait()
        yield

    with pytest.raises(InfrastructureError, match="no use"):
        list(with_patience(never(), 0.01, give_up))
