"""docs/slurm.sh with two nodes on this machine, and as an array. Slurm's own commands are replaced.

A node is a process with network and processes of its own: `ray symmetric-run` finds out by its addresses which node is
the head, and `ray stop` at its end ends every Ray that it sees.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobs import status
from tests.moving_shapes import MovingShapes

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.prefix) / "bin"
OUTSIDE = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
NODE = "unshare --net --pid --fork --kill-child --mount-proc"
SRUN = f"""#!/bin/bash
# The tasks of a step: one on each of two nodes, joined by a cable.
for number in 1 2; do
    {NODE} bash -c '
        until ip address add 10.9.0.'$number'/24 dev cable 2> /dev/null; do sleep 0.05; done
        ip link set lo up && ip link set cable up && "$@"; exit' task "$@" &
    pids[number]=$!
    until [ "$(readlink /proc/$!/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
done
ip link add cable netns ${{pids[1]}} type veth peer name cable netns ${{pids[2]}}
trap 'kill -TERM ${{pids[@]}}' TERM
wait ${{pids[1]}}
code=$?
wait ${{pids[2]}}
exit $code
"""
SCONTROL = """#!/bin/bash
case $1 in
    show) printf '10.9.0.1\\n10.9.0.2\\n' ;;
    requeue) echo "requeued $2" ;;
esac
"""


@pytest.fixture
def job(tmp_path, s3_ports):
    """Return a function that runs docs/slurm.sh as sbatch would, with these variables and arguments."""
    (tmp_path / "bin").mkdir()
    ended = []

    def start(srun: str, words: list[str], outside: list[str] = (), **variables: str) -> subprocess.Popen:
        for name, text in {"srun": srun, "scontrol": SCONTROL}.items():
            (tmp_path / "bin" / name).write_text(text)
            (tmp_path / "bin" / name).chmod(0o755)
        (tmp_path / "bin" / "activate").write_text(f"PATH={tmp_path / 'bin'}:{BIN}:$PATH\n")
        # A busy machine starts Ray slowly; workers look for a head that has gone for a minute.
        busy = {"RAY_raylet_start_wait_time_s": "200", "RAY_gcs_rpc_server_reconnect_timeout_s": "5"}
        slurm = busy | {"SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_NODELIST": "n[1-2]"}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        process = subprocess.Popen(
            [*outside, "bash", str(ROOT / "docs" / "slurm.sh"), *words],
            env=kept | slurm | {"RVOS_ENV": str(tmp_path), "PYTHONPATH": str(ROOT)} | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        ended.append(process)
        return process

    yield start
    for process in ended:
        process.kill()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> str:
    folder = str(tmp_path_factory.mktemp("slurm"))
    return MovingShapes(videos=4, num_frames=2, height=64, width=64, seed=5).write(folder)[0]


def options(manifest: str, run: Path, checkpoint: str) -> list[str]:
    small = ["--short-side", "32", "--window", "2", "--unit-frames", "6", "--device", "cpu"]
    return [manifest, str(run), "--checkpoint", checkpoint, *small]


@pytest.mark.slow
def test_two_symmetric_nodes(job, manifest, checkpoint, tmp_path):
    if not (BIN / "ray").exists():
        pytest.skip(f"RAY ABSENT: no command ray in {BIN}")
    if (tried := subprocess.run([*OUTSIDE, *NODE.split(), "true"], capture_output=True, text=True)).returncode:
        pytest.skip(f"NAMESPACES ABSENT: two nodes need them on one machine: {tried.stderr.strip()}")
    process = job(SRUN, options(manifest, tmp_path / "run", checkpoint), OUTSIDE, SLURM_JOB_NUM_NODES="2")
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "On worker node. Connecting to Ray cluster at 10.9.0.1:24711" in output
    assert "pairs   12: 12 with masks" in output
    found = status.run(status.StatusConfig(run=str(tmp_path / "run")))
    assert (found.state, found.pairs_done) == ("done", 12)


def test_an_array_of_shards(job, manifest, tmp_path):
    srun = '#!/bin/bash\necho "step of $SRUN_CPUS_PER_TASK $@"\n'
    process = job(srun, [manifest, "runs/a b", "--limit", "3"], SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_COUNT="8")
    output, _ = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"step of 1 rvos segment {manifest} runs/a b --shard 2/8 --limit 3\n")


def test_the_exit_code_of_a_shard(job, manifest, tmp_path):
    process = job("#!/bin/bash\nexit 3\n", [manifest, "run"], SLURM_ARRAY_TASK_ID="2", SLURM_ARRAY_TASK_COUNT="8")
    process.communicate(timeout=60)
    assert process.returncode == 3


def test_a_job_whose_time_is_over_is_requeued(job, manifest, tmp_path):
    srun = "#!/bin/bash\ntrap 'echo ended; exit 143' TERM\necho started\nwhile :; do sleep 0.05; done\n"
    process = job(srun, [manifest, "run"], SLURM_ARRAY_TASK_ID="1", SLURM_ARRAY_TASK_COUNT="8")
    assert process.stdout.readline() == "started\n"
    process.terminate()
    assert process.communicate(timeout=60)[0] == "ended\nrequeued 4711\n"


@pytest.mark.parametrize(("given", "expected"), [([], "--actors 2"), (["--actors", "7"], "--actors 7")])
def test_an_actor_for_each_core_unless_a_number_is_given(job, manifest, given, expected):
    """An option may be given once."""
    process = job('#!/bin/bash\necho "step $@"\n', [manifest, "run", *given], SLURM_JOB_NUM_NODES="2")
    (line,) = (line for line in process.communicate(timeout=60)[0].splitlines() if line.startswith("step "))
    assert line.endswith(f" rvos segment {manifest} run --address auto {expected}")


def test_a_cluster_that_does_not_start_is_no_success(job, manifest, tmp_path):
    """`ray symmetric-run` ends with 0 then."""
    process = job("#!/bin/bash\nexit 0\n", options(manifest, tmp_path / "run", "tiny"), SLURM_JOB_NUM_NODES="2")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
