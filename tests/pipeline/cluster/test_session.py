"""An address at which there is no cluster is told at once: Ray itself would try for many minutes."""

import threading

import pytest

from pipeline.cluster import session
from pipeline.cluster.session import connect_to_ray
from schemas.errors import InfrastructureError


@pytest.mark.timeout(60)
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nowhere.invalid:6379", "127.0.0.1:99999"])
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


@pytest.mark.parametrize("name", ["StreamingExecutor-dataset_1", "iter_threaded"])
def test_threads_of_ray_data_end_before_the_session_does(name):
    """One that still asks for Ray would end the process with exit code 1, without a message."""
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait, name=name, daemon=True)
    thread.start()
    threading.Timer(0.2, may_end.set).start()
    session._wait_for_data_threads()
    assert not thread.is_alive()
