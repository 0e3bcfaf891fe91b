"""A host that cannot work costs itself: its units go to others, and no video is blamed."""

import shutil
from pathlib import Path

import pytest

from tests.chaos.case import end_of, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.mark.parametrize("reason", ["stale", "does not exist there"])
def test_a_host_that_reads_no_video_is_left_out(corpus, cluster, undisturbed, tmp_path, reason):
    """No video opens on the good host before the bad one has failed, so that both have work however late they start."""
    shutil.copytree(Path(corpus.manifest).parent, tmp_path / "corpus")
    closed, failed = tmp_path / "corpus" / "videos" / "closed", tmp_path / reason.partition(" ")[0]
    closed.touch()
    manifest = str(tmp_path / "corpus" / Path(corpus.manifest).name)
    case = corpus.but(manifest=manifest, run=str(tmp_path / "run"), address=cluster.address)
    bad = cluster.add_node(num_cpus=1, object_store_memory=80_000_000, env_vars={"CHAOS_BAD_HOST": str(failed)})
    try:
        driver = case.start("--actors", "3")
        wait_until(failed.exists, driver)
        closed.unlink()
        _, messages = end_of(driver)
    finally:
        closed.unlink(missing_ok=True)
        cluster.remove_node(bad)
    assert f"(node {bad.node_id}) was left out" in messages
    assert reason in messages.lower()
    case.assert_whole(undisturbed, f"a host whose videos are unreadable: {reason}")
