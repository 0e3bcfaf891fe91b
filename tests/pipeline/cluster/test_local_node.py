"""Which processes of Ray a local session has."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEFAULT_AGENT_PORT = 52365
INTERRUPTED = """
import json, sys, time
import ray
import psutil  # Ray brings it along
from pipeline.cluster import local_node
from pipeline.cluster.session import connect_to_ray

def interrupt(node):
    started(node)
    time.sleep(2)  # in which Ray's helpers start
    seen.extend(psutil.Process().children(recursive=True))
    raise KeyboardInterrupt

seen, started = [], local_node.LocalNode.start_ray_processes
local_node.LocalNode.start_ray_processes = interrupt
try:
    with connect_to_ray("local"):
        sys.exit("not interrupted")
except KeyboardInterrupt:
    _, alive = psutil.wait_procs(seen, timeout=10)
print("RESULT", json.dumps([len(seen), [process.name() for process in alive]]))
"""


@pytest.fixture
def processes(ray_session) -> list[Any]:
    """The processes of the session, not of clusters that other tests start."""
    import psutil  # Ray brings it along, and finds it when it is imported
    from ray._private import worker

    folder = worker._global_node.get_session_dir_path()
    return [one for one in psutil.Process().children(recursive=True) if folder in " ".join(one.cmdline())]


def test_a_local_session_has_no_process_that_nobody_uses(processes):
    scripts = {Path(word).name for process in processes for word in process.cmdline()}
    assert {"gcs_server", "raylet"} <= scripts
    assert scripts.isdisjoint({"dashboard.py", "monitor.py", "log_monitor.py"})


def test_a_local_session_does_not_wait_for_the_port_of_another(processes):
    ports = {each.laddr.port for process in processes for each in process.net_connections("inet") if each.laddr}
    assert ports
    assert DEFAULT_AGENT_PORT not in ports


@pytest.mark.slow
def test_nothing_is_left_of_a_session_that_is_interrupted_while_it_starts():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-2000:]
    started, alive = json.loads(lines[0].removeprefix("RESULT "))
    assert started >= 4
    assert not alive
