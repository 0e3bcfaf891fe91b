"""Temporary folders of killed processes go with the next command; those of living ones, of others and links stay."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.io import private_folder as module
from pipeline.io.private_folder import private_folder

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
from pipeline.io.private_folder import private_folder
with private_folder(sys.argv[1]) as folder:
    open(f"{folder}/log", "w").close()
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def held(tmp_path):
    """A process that holds a folder, and the folder."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(held, tmp_path):
    process, folder = held
    with private_folder(str(tmp_path)) as own:
        assert os.stat(own).st_mode & 0o777 == 0o700
        assert (folder / "log").exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with private_folder(str(tmp_path)):
            assert not folder.exists()
            assert Path(own).is_dir()
    assert not [*tmp_path.iterdir()]


def test_a_folder_stays_while_a_process_of_the_killed_one_writes_to_it(held, tmp_path):
    """It would make the folder anew, open to all users."""
    process, folder = held
    with open(folder / "log", "a") as log, subprocess.Popen(["sleep", "600"], stdout=log) as writer:
        log.close()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with private_folder(str(tmp_path)):
            assert (folder / "log").exists()
        writer.kill()
        writer.wait()
    module.remove_left(str(tmp_path))
    assert not folder.exists()


def test_what_is_not_ours_stays(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / module.LOCK).touch()
    temp = tmp_path / "temp"
    temp.mkdir()
    (temp / "rvos-linked00").symlink_to(outside)
    for name in ("rvos-demo", "rvos-ABCDEFGH", "rvos-00000000x", "other", "rvos-full0000", "rvos-young000"):
        (temp / name).mkdir()
    (temp / "rvos-full0000" / "thesis.txt").touch()  # without a lock: not made by this version, and not empty
    (temp / "rvos-file0000").touch()
    (temp / "rvos-pipe0000").mkdir()
    os.mkfifo(temp / "rvos-pipe0000" / module.LOCK)
    (temp / "rvos-link0000").mkdir()
    (temp / "rvos-link0000" / module.LOCK).symlink_to(outside / module.LOCK)
    before = sorted(temp.iterdir())
    module.remove_left(str(temp))
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (temp / "rvos-left0000").mkdir()
    (temp / "rvos-left0000" / module.LOCK).touch()
    module.remove_left(str(temp))
    assert sorted(temp.iterdir()) == sorted([*before, temp / "rvos-left0000"])
    assert (outside / module.LOCK).exists()


def test_empty_folders_of_earlier_versions_go_after_a_minute(tmp_path):
    (tmp_path / "rvos-old00000").mkdir()
    os.utime(tmp_path / "rvos-old00000", (0, 0))
    (tmp_path / "rvos-left0000").mkdir()
    (tmp_path / "rvos-left0000" / module.LOCK).touch()  # nobody holds it
    module.remove_left(str(tmp_path))
    module.remove_left(str(tmp_path / "absent"))
    assert not [*tmp_path.iterdir()]
