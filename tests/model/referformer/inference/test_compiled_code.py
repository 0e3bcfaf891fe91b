"""Code that others put where torch would look for its own is not run."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from model.referformer.inference.compiled_code import VARIABLE, keep_privately


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """kept() -> the folder that torch gets; `taken` is its usual name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)

    def keep() -> Path:
        os.environ.pop(VARIABLE, None)
        keep_privately()
        return Path(os.environ[VARIABLE])

    return keep


def test_the_folder_is_of_this_user_alone_and_stays(kept, tmp_path):
    folder = kept()
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert kept() == folder


@pytest.mark.parametrize("trap", ["open to all", "link", "file", "of another user"])
def test_a_folder_that_others_made_first_is_not_used(kept, tmp_path, monkeypatch, trap):
    taken = kept()
    taken.rmdir()
    if trap == "link":
        (tmp_path / "theirs").mkdir()
        taken.symlink_to(tmp_path / "theirs")
    elif trap == "file":
        taken.write_text("")
    else:
        taken.mkdir()
        taken.chmod(0o777 if trap == "open to all" else 0o755)
    if trap == "of another user":
        found = os.lstat(taken)
        if os.getuid():
            monkeypatch.setattr(os, "getuid", lambda: found.st_uid + 1)
            taken.rename(tmp_path / f"rvos-compiled-{found.st_uid + 1}")
        else:
            os.chown(taken, 12345, 12345)
    folder = kept()
    assert folder != taken
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.lstat().st_mode) == 0o700


def test_a_folder_that_the_user_names_is_used(kept, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/somewhere")
    keep_privately()
    assert os.environ[VARIABLE] == "/somewhere"
