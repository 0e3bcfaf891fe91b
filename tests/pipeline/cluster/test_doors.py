"""A local session cannot be reached from another machine, nor joined without its token."""

import json
import os
import subprocess
import sys
import tempfile

import pytest

JOIN = """
import sys
import ray
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
print("JOINED")
"""
SESSION = """
import json, os, subprocess, sys
import ray
import psutil  # Ray brings it along
from pipeline.cluster.session import connect_to_ray

def listening():
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [socket for process in processes for socket in process.net_connections("inet")]
    return [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]

def join(address, **keys):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Without this variable, Ray looks for a node at the address of the network card, and finds none.
    env = {**clean, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **keys}
    command = [sys.executable, "-c", sys.argv[1], address]
    return subprocess.Popen(command, env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

def entered(process, seconds):
    try:  # without the right token, Ray tries again and again
        return "JOINED" in process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return False

seen = {"tokens": [], "listening": []}
for attacked in (True, False):
    with connect_to_ray("local"):
        token = os.environ["RAY_AUTH_TOKEN"]
        seen["tokens"].append(token)
        ray.get(ray.remote(lambda: os.getpid()).remote())  # starts a worker
        if attacked:
            address = ray.get_runtime_context().gcs_address
            attacks = {
                "right": join(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token),
                "wrong": join(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
                "none": join(address, RAY_AUTH_MODE="disabled"),
            }
            seen["listening"] = listening()
            seen["folder"] = folder = ray._private.worker._global_node.get_temp_dir_path()
            seen["modes"] = [os.stat(path).st_mode & 0o777 for path in (os.path.dirname(folder), folder)]
            seconds = {"right": 60, "wrong": 10, "none": 10}
            seen["entered"] = [name for name in attacks if entered(attacks[name], seconds[name])]
seen["after"] = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
print("RESULT", json.dumps(seen))
"""


@pytest.mark.slow
def test_a_local_session_listens_on_loopback_and_refuses_others():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["RAY_AUTH_MODE"] = "disabled"  # a setting for clusters opens no local session
    done = subprocess.run(
        [sys.executable, "-c", SESSION, JOIN], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-2000:]
    seen = json.loads(lines[0].removeprefix("RESULT "))
    assert seen["entered"] == ["right"]
    assert len(seen["listening"]) >= 5
    assert {ip.removeprefix("::ffff:") for ip in seen["listening"]} <= {"127.0.0.1", "::1"}
    assert seen["modes"][0] == 0o700  # nobody else gets through to the folders of Ray, which all may read and write
    assert seen["folder"].startswith(tempfile.gettempdir())
    assert not os.path.exists(seen["folder"])
    first, second = seen["tokens"]
    assert first != second
    assert len(first) == 64
    assert seen["after"] == {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": None}
