"""Fixtures of the chaos tests: a small corpus, locally and on S3, a cluster, and the rows of an undisturbed run."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.io import storage
from tests.chaos.case import VIDEOS, Case, environment


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, checkpoint) -> Case:
    """Videos of four frames with three expressions each, and no run yet."""
    from tests.moving_shapes import MovingShapes

    folder = str(tmp_path_factory.mktemp("corpus"))
    manifest, _ = MovingShapes(videos=VIDEOS, num_frames=4, height=64, width=64, seed=11).write(folder)
    return Case(manifest, checkpoint, run="")


@pytest.fixture(scope="session")
def corpus_on_s3(corpus, s3) -> Case:
    """The same corpus under s3://, with the checkpoint."""
    base, here = f"{s3}/chaos", Path(corpus.manifest).parent
    files = {path.relative_to(here): path for path in here.rglob("*") if path.is_file()}
    files |= {Path("checkpoint", path.name): path for path in Path(corpus.checkpoint).iterdir()}
    for name, path in files.items():
        storage.write_bytes(f"{base}/{name}", path.read_bytes())
    return Case(f"{base}/{Path(corpus.manifest).name}", f"{base}/checkpoint", run="")


@pytest.fixture(scope="session")
def cluster(s3_ports) -> Iterator:
    """A Ray cluster of one node with two CPUs, separate from the session of the other tests; more nodes can join."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        head = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
        head["dashboard_agent_listen_port"] = 0  # any: another session may have Ray's own
        running = Cluster(initialize_head=True, head_node_args=head)
        yield running
        running.shutdown()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def case(request, cluster, tmp_path) -> Case:
    """A run to disturb, everything on local disk or everything on S3."""
    if request.param == "local":
        return request.getfixturevalue("corpus").but(run=str(tmp_path / "run"), address=cluster.address)
    run = f"{request.getfixturevalue('s3')}/{tmp_path.name}/run"
    return request.getfixturevalue("corpus_on_s3").but(run=run, address=cluster.address)


@pytest.fixture(scope="session")
def undisturbed(corpus, cluster, tmp_path_factory) -> pa.Table:
    """The rows of a run without any disturbance."""
    case = corpus.but(run=str(tmp_path_factory.mktemp("undisturbed") / "run"), address=cluster.address)
    case.finish()
    rows = case.rows()
    case.assert_whole(rows, "nothing")
    return rows
