"""Which processes of Ray a local session has."""

from pathlib import Path
from typing import Any

import pytest

DEFAULT_AGENT_PORT = 52365


@pytest.fixture
def processes(ray_session) -> list[Any]:
    import psutil  # Ray brings it along, and finds it when it is imported

    return psutil.Process().children(recursive=True)


def test_a_local_session_has_no_process_that_nobody_uses(processes):
    scripts = {Path(word).name for process in processes for word in process.cmdline()}
    assert {"gcs_server", "raylet"} <= scripts
    assert scripts.isdisjoint({"dashboard.py", "monitor.py", "log_monitor.py"})


def test_a_local_session_does_not_wait_for_the_port_of_another(processes):
    ports = {each.laddr.port for process in processes for each in process.net_connections("inet") if each.laddr}
    assert ports
    assert DEFAULT_AGENT_PORT not in ports
