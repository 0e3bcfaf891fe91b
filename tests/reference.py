"""The one door to recorded numbers: the project's own golden data, or another folder that the environment names."""

import os
from pathlib import Path

import pytest

ABSENT = "REFERENCE DATA ABSENT"  # reason of a skipped test


def named_folder(variable: str, default: Path) -> Path:
    """Return the folder that an environment variable names, or the default.

    Raises NotADirectoryError if the variable names no folder: all its tests would be skipped without a word.
    """
    named = os.environ.get(variable)
    if named and not Path(named).is_dir():
        raise NotADirectoryError(f"{named}, named by {variable}, is no folder")
    return Path(named) if named else default


class Recordings:
    """A folder of recorded numbers. `/` gives a path in it, and skips the test if a folder that may lack parts does."""

    def __init__(self, folder: Path, *, may_lack: bool) -> None:
        self.folder = folder
        self.may_lack = may_lack

    def __truediv__(self, name: str) -> Path:
        if self.may_lack and not (self.folder / name).exists():
            pytest.skip(f"{ABSENT}: no {name} in {self.folder}")
        return self.folder / name
