"""A GPU that cannot work costs itself: the others of its host do its units, and no video is blamed.

Ray only believes in the GPUs; the actors compute on CPUs.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.segment.actor import MAX_START_DEATHS
from tests.chaos.case import end_of, environment, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
GPUS = 3
BAD = "1"
ON_GPUS = ("--device", "cpu", "--gpus-per-actor", "1")


@pytest.fixture
def host(s3_ports, tmp_path, request) -> Iterator[str]:
    """The address of a cluster of one host with GPUS, of which BAD fails for the reason of the test."""
    from ray.cluster_utils import Cluster

    failed = tmp_path / request.getfixturevalue("reason").partition(" ")[0]
    with pytest.MonkeyPatch.context() as patch:
        bad = {"CHAOS_BAD_HOST": str(failed), "CHAOS_BAD_GPU": BAD}
        for name, value in environment(OMP_NUM_THREADS="1", **bad).items():  # as without GPUs
            patch.setenv(name, value)
        head = {"num_cpus": GPUS, "num_gpus": GPUS, "object_store_memory": 80_000_000, "include_dashboard": False}
        head["dashboard_agent_listen_port"] = 0  # any: another session may have Ray's own
        running = Cluster(initialize_head=True, head_node_args=head)
        yield running.address
        running.shutdown()


@pytest.mark.parametrize("reason", ["driver", "load", "CUDA error", "NaN", "memory"])
def test_a_bad_gpu_costs_itself_only(corpus, undisturbed, host, tmp_path, reason):
    """The good GPUs open no video before the bad one has failed, so that it has work however late it starts."""
    shutil.copytree(Path(corpus.manifest).parent, tmp_path / "corpus")
    closed, failed = tmp_path / "corpus" / "videos" / "closed", tmp_path / reason.partition(" ")[0]
    closed.touch()
    manifest = str(tmp_path / "corpus" / Path(corpus.manifest).name)
    case = corpus.but(manifest=manifest, run=str(tmp_path / "run"), address=host)
    driver = case.start(*ON_GPUS)
    wait_until(failed.exists, driver)
    closed.unlink()
    _, messages = end_of(driver)
    case.assert_whole(undisturbed, f"a GPU that fails: {reason}")
    if reason == "driver":
        assert f"GPU {BAD} of host" in messages
        assert "was left out, other GPUs did its units" in messages
    if reason == "load":
        assert len(failed.read_text().split()) <= MAX_START_DEATHS
