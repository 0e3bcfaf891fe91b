"""Runs on a cluster that only claims to have GPUs: placement and number of actors, and waiting for nodes.

Each runs in its own process, since a process has one Ray session and the other tests need theirs.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.segment import SegmentConfig
from schemas.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, subprocess, sys, time
import ray
from ray.cluster_utils import Cluster

manifest, run, checkpoint, gpus_before, gpus_after, *options = sys.argv[1:]
small = {"num_cpus": 4, "object_store_memory": 80_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**small, "num_gpus": 0, "include_dashboard": False})
if float(gpus_before):
    cluster.add_node(**small, num_gpus=float(gpus_before))
command = [sys.executable, "-m", "cli", "segment", manifest, run, "--checkpoint", checkpoint, "--json", "--address",
           cluster.address, "--short-side", "64", "--window", "5", "--unit-frames", "12", *options]
driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
used, added, deadline = [], False, time.monotonic() + 480
while driver.poll() is None and time.monotonic() < deadline:
    total, free = ray.cluster_resources().get("GPU", 0), ray.available_resources().get("GPU", 0)
    states = [actor["State"] for actor in ray._private.state.actors().values() if "UnitSegmenter" in str(actor)]
    used.append([total - free, states.count("ALIVE"), states.count("PENDING_CREATION")])
    if float(gpus_after) and not added and used[-1][2]:
        added = True
        time.sleep(2)
        cluster.add_node(**small, num_gpus=float(gpus_after))
    time.sleep(0.1)
driver.kill()
out, err = driver.communicate()
print("RESULT", json.dumps({"code": driver.returncode, "out": out, "err": err, "used": used}))
ray.shutdown()
cluster.shutdown()
"""


def run_on(shapes, checkpoint, run, gpus_before, gpus_after, *options) -> dict:
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        shapes[0],
        str(run),
        checkpoint,
        str(gpus_before),
        str(gpus_after),
        *options,
    ]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-2000:]
    return json.loads(lines[0].removeprefix("RESULT "))


@pytest.mark.slow
def test_fractions_put_several_actors_on_a_gpu(shapes, checkpoint, tmp_path):
    result = run_on(shapes, checkpoint, tmp_path / "run", 2, 0, "--gpus-per-actor", "0.5", "--actors", "1:4")
    assert result["code"] == 0, result["err"]
    assert json.loads(result["out"])["ok"] == 9
    assert max(alive + pending for _, alive, pending in result["used"]) == 4  # all asked for at the start, not one
    assert max(used for used, _, _ in result["used"]) == 2.0  # four actors on two GPUs


@pytest.mark.slow
def test_actors_wait_for_nodes_and_the_work_goes_on_with_them(shapes, checkpoint, tmp_path):
    result = run_on(shapes, checkpoint, tmp_path / "run", 0, 2, "--gpus-per-actor", "1", "--actors", "2")
    assert result["code"] == 0, result["err"]
    assert json.loads(result["out"])["ok"] == 9
    assert max(pending for _, _, pending in result["used"]) == 2
    assert max(used for used, _, _ in result["used"]) == 2.0


@pytest.mark.parametrize("actors", ["0", "4:2", "1:", ":4", "many", "1:2:3", "-1"])
def test_actors_are_one_or_two_numbers(actors):
    with pytest.raises(InputError, match="--actors must be a whole number of at least 1, or MIN:MAX"):
        SegmentConfig(manifest="m", run="r", checkpoint="c", actors=actors)
