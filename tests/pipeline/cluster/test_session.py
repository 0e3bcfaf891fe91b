"""An address at which there is no cluster is told at once: Ray itself would try for many minutes."""

import signal
import sys
import threading

import pytest

from pipeline.cluster import session
from pipeline.cluster.session import connect_to_ray
from schemas.errors import InfrastructureError


@pytest.mark.timeout(60)
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379", f"{'h' * 70}:6379"])
def test_nobody_is_there(address, monkeypatch):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(InfrastructureError, match=f"no Ray cluster at --address {address}: "), connect_to_ray(address):
        pass


def test_a_local_session_has_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(session.os, "cpu_count", lambda: 64)
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda process: {3, 4})
    assert session._private_session("folder")["num_cpus"] == 2
    monkeypatch.setattr(session.os, "cpu_count", lambda: 2)
    assert "num_cpus" not in session._private_session("folder")


@pytest.mark.parametrize("name", ["StreamingExecutor-dataset_1", "iter_threaded", "patience"])
def test_threads_that_ask_ray_end_before_the_session_does(name):
    """One that still asks for Ray would end the process with exit code 1, without a message."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait, name=name, daemon=True)
    thread.start()
    threading.Timer(0.2, may_end.set).start()
    session._wait_for_threads(is_local=False)
    assert not thread.is_alive()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ray_prints_after_a_signal_is_left_out(number, capsys):
    """Ray prints to stdout, from a thread of its own, that tasks of killed actors will be retried."""
    received = []
    before = signal.signal(number, lambda *signal: received.append(signal[0]))
    try:
        handler = signal.getsignal(number)
        with session._stdout_of_ray():
            print("(raylet) a node died", file=sys.stdout)
            signal.raise_signal(number)
            threading.Thread(target=print, args=["(raylet) the actor was killed"]).start()
            print("our own words", file=sys.stderr)
        assert signal.getsignal(number) is handler
    finally:
        signal.signal(number, before)
    print("the result")
    assert received == [number]
    assert capsys.readouterr() == ("the result\n", "(raylet) a node died\nour own words\n")


def test_what_the_first_signal_changes_is_kept():
    """After the first Ctrl-C the command sets other handlers, which end the process at once."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_IGN))
    try:
        with session._stdout_of_ray():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_session_outside_the_main_thread_leaves_signals_alone():
    before, found = signal.getsignal(signal.SIGINT), []

    def run() -> None:
        with session._stdout_of_ray():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
