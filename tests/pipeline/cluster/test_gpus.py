"""A GPU that is held goes to nobody else. Ray only believes in the GPUs.

In a process of its own, since a process has one Ray session and the other tests need theirs.
"""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import json
import ray
from pipeline.cluster import gpus
from pipeline.cluster.gpus import gpus_held

class Worker:
    def gpu(self):
        return ray.get_runtime_context().get_accelerator_ids()["GPU"][0]

local = {"address": "local", "include_dashboard": False, "log_to_driver": False}
ray.init(num_cpus=3, num_gpus=3, object_store_memory=80_000_000, **local)
(node,) = [node["NodeID"] for node in ray.nodes()]
start = ray.remote(num_cpus=1, num_gpus=1)(Worker).remote
with gpus_held({(node, "1")}):
    first, second, third = [start() for _ in range(3)]
    used = sorted(ray.get([first.gpu.remote(), second.gpu.remote()]))
    waiting = third.gpu.remote()
    others = ray.wait([waiting], timeout=3)[0]
seen = {"used": used, "others": len(others), "after": ray.get(waiting, timeout=60)}
gpus.HOLD_SECONDS = 3.0
with gpus_held({(node, "0"), ("gone", "0")}):  # another actor has it, and that node is not there
    seen["held"] = True
print("RESULT", json.dumps(seen))
ray.shutdown()
"""


@pytest.mark.slow
def test_actors_start_on_the_gpus_that_are_not_held():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-2000:]
    assert json.loads(lines[0].removeprefix("RESULT ")) == {
        "used": ["0", "2"],
        "others": 0,
        "after": "1",
        "held": True,
    }
