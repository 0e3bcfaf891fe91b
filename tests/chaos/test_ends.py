"""Runs that cannot go on end with exit code 3 and the reason, and everything that could be done is done."""

import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.io import parquet
from tests.chaos.case import WAIT, Case

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

NAMES = ("fatal", "good")
LIVES = 4  # commands that the unit may end: twice as a whole, twice pair by pair


@pytest.fixture
def case(corpus, tmp_path) -> Case:
    """A run of its own Ray session, with one unit for each of NAMES, all the same video."""
    source = parquet.read_table(corpus.manifest).to_pylist()[0]
    video = Path(corpus.manifest).parent / source["video_uri"]
    rows = []
    for name in NAMES:
        shutil.copy(video, tmp_path / f"{name}.mp4")
        pair = {"video_id": name, "video_uri": f"{name}.mp4", "expression_id": "0", "expression": "the circle"}
        rows.append(pair | {"num_frames": 4})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    options = ("--short-side", "32", "--window", "4", "--unit-frames", "4")
    return Case(str(tmp_path / "m.parquet"), corpus.checkpoint, str(tmp_path / "run"), options=options)


def test_a_unit_that_takes_its_machine_with_it_comes_last_and_is_refused(case):
    """The video kills the driver and thus the whole session, as a container that runs out of memory does."""
    for life in range(LIVES):
        driver = case.start("--actors", "1")
        driver.communicate(timeout=WAIT)
        assert driver.returncode == -signal.SIGKILL
        assert len(case.committed()) == 1 or life == 0
    _, messages = case.finish("--actors", "1", code=3)
    assert "all units are done except" in messages
    assert "video_id=fatal expression_id=0: its driver or node ended 2 times while it was segmented alone" in messages
    assert case.rows()["video_id"].to_pylist() == ["good"] * 4


def test_a_run_whose_processes_never_start_says_so_and_ends(case):
    case = case.but(extra={"CHAOS_STILLBORN": "1"})
    _, messages = case.finish("--actors", "1", "--patience", "5", code=3)
    assert "no process works on a unit on host" in messages
    assert not case.committed()
