"""A host that cannot work costs itself: its units go to others, and no video is blamed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.case import Case, end_of, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@contextmanager
def bad_host(corpus: Case, cluster, folder: Path, reason: str) -> Iterator[tuple[Case, str, str]]:
    """Segment the corpus on a good and a bad host. Yields the run, the id of the bad node and what the command printed.

    No video opens on the good host before the bad one has failed, so that both have work however late they start.
    """
    shutil.copytree(Path(corpus.manifest).parent, folder / "corpus")
    closed, failed = folder / "corpus" / "videos" / "closed", folder / reason.partition(" ")[0]
    closed.touch()
    manifest = str(folder / "corpus" / Path(corpus.manifest).name)
    case = corpus.but(manifest=manifest, run=str(folder / "run"), address=cluster.address)
    bad = cluster.add_node(num_cpus=1, object_store_memory=80_000_000, env_vars={"CHAOS_BAD_HOST": str(failed)})
    try:
        driver = case.start("--actors", "3")
        wait_until(failed.exists, driver)
        closed.unlink()
        _, messages = end_of(driver)
        yield case, bad.node_id, messages
    finally:
        closed.unlink(missing_ok=True)
        cluster.remove_node(bad)


@pytest.mark.parametrize("reason", ["stale", "does not exist there"])
def test_a_host_that_reads_no_video_is_left_out(corpus, cluster, undisturbed, tmp_path, reason):
    with bad_host(corpus, cluster, tmp_path, reason) as (case, node, messages):
        assert f"(node {node}) was left out" in messages
        assert reason in messages.lower()
        case.assert_whole(undisturbed, f"a host whose videos are unreadable: {reason}")


def test_a_pair_that_fails_on_one_host_alone_is_not_blamed(corpus, cluster, undisturbed, tmp_path):
    """The GPU of the host fails with every video, yet processes survive the control."""
    with bad_host(corpus, cluster, tmp_path, "CUDA error") as (case, _, _):
        case.assert_whole(undisturbed, "a host whose GPU fails at work")


@pytest.mark.parametrize("reason", ["memory", "NaN"])
def test_a_host_on_which_nothing_fits_or_is_finite_costs_no_pair(corpus, cluster, undisturbed, tmp_path, reason):
    """From its first unit on: its processes make no mask at all."""
    with bad_host(corpus, cluster, tmp_path, reason) as (case, _, _):
        case.assert_whole(undisturbed, f"a host with too little {reason}" if reason == "memory" else "a host of NaN")
