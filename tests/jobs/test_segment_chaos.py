"""Runs that are disturbed end as an undisturbed one does: each pair exactly once, the audit clean."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit
from pipeline import storage
from pipeline.runs.run import Run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

ORDER = [("video_id", "ascending"), ("expression_id", "ascending"), ("frame_index", "ascending")]
OPTIONS = ["--short-side", "64", "--window", "5", "--unit-frames", "12"]


def command(manifest, folder, checkpoint, *options) -> list[str]:
    arguments = ["segment", str(manifest), str(folder), "--checkpoint", checkpoint, *OPTIONS, *options]
    return [sys.executable, "-m", "cli", *arguments]


def start(*arguments, **environment) -> subprocess.Popen:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command(*arguments), env=os.environ | environment, start_new_session=True, **quiet)


def committed(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "masks").glob("[!.]*.parquet")}


def wait_for_a_unit(driver: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + 300
    while not committed(folder):
        assert driver.poll() is None, driver.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(manifest, folder, checkpoint) -> None:
    done = subprocess.run(command(manifest, folder, checkpoint), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def masks(folder: Path) -> pa.Table:
    run = Run.open(str(folder))
    return pa.concat_tables(storage.read_table(run.masks_uri(unit.unit_id)) for unit in run.units()).sort_by(ORDER)


def assert_clean(folder: Path) -> None:
    result = audit.run(audit.AuditConfig(run=str(folder)))
    assert result.exit_code == 0, result.text()


@pytest.fixture(scope="module")
def undisturbed(shapes, checkpoint, tmp_path_factory) -> pa.Table:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(shapes[0], folder, checkpoint)
    assert_clean(folder)
    return masks(folder)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["kill", "term", "int"]
)
def test_a_driver_that_is_ended_can_be_continued(shapes, checkpoint, tmp_path, undisturbed, number, code):
    folder = tmp_path / "run"
    driver = start(shapes[0], folder, checkpoint)
    wait_for_a_unit(driver, folder)
    os.kill(driver.pid, number)
    _, messages = driver.communicate(timeout=120)
    assert driver.returncode == code, messages
    assert "Traceback" not in messages
    assert number == signal.SIGKILL or "repeat the command" in messages
    time.sleep(3)  # orphaned workers may still finish the unit in hand
    before = committed(folder)
    finish(shapes[0], folder, checkpoint)
    assert {name: when for name, when in committed(folder).items() if name in before} == before  # nothing done again
    assert_clean(folder)
    assert masks(folder).equals(undisturbed)


def test_two_drivers_on_one_run(shapes, checkpoint, tmp_path, undisturbed):
    folder = tmp_path / "run"
    drivers = [start(shapes[0], folder, checkpoint) for _ in range(2)]
    for driver in drivers:
        _, messages = driver.communicate(timeout=600)
        assert driver.returncode == 0, messages
    assert_clean(folder)
    assert masks(folder).equals(undisturbed)


def test_inputs_that_kill_or_hang_their_process_cost_their_own_pair_only(shapes, checkpoint, tmp_path):
    folder = Path(shapes[0]).parent / "videos"
    good = sorted(folder.iterdir())[0]
    for name in ("good.mp4", "deadly.mp4", "hanging.mp4"):
        shutil.copy(good, tmp_path / name)
    rows = [
        {"video_id": name, "video_uri": f"{name}.mp4", "expression_id": str(i), "expression": "x", "num_frames": 1}
        for name, pairs in (("deadly", 1), ("good", 2), ("hanging", 1))
        for i in range(pairs)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    poison = Path(__file__).resolve().parents[1] / "poison"
    driver = start(tmp_path / "m.parquet", tmp_path / "run", checkpoint, "--unit-timeout", "20", PYTHONPATH=str(poison))
    _, messages = driver.communicate(timeout=800)
    assert driver.returncode == 1, messages
    assert_clean(tmp_path / "run")
    table = masks(tmp_path / "run").to_pylist()
    assert len(Run.open(str(tmp_path / "run")).units()) == 1
    failed = {row["video_id"]: row["status"] for row in table if row["status"] != "ok"}
    assert failed == {"deadly": "crash", "hanging": "timeout"}
    assert len([row for row in table if row["video_id"] == "good" and row["status"] == "ok"]) == 24
