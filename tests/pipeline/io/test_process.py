import os
import subprocess
import sys

import pytest

from pipeline.io import process

CODE = "from pipeline.io import process; import sys; print(process.writer_name(), process.has_ended(sys.argv[1]))"


def test_processes_that_run_and_that_have_ended():
    assert process.runs(os.getpid())
    assert process.runs(1)  # of another user, or init
    assert not process.runs(2**22 + 1)
    assert not process.runs(2**70)
    here = process.writer_name().removesuffix(str(os.getpid()))
    assert process.has_ended(f"{here}4194305")
    assert process.has_ended(process.writer_name()) is False
    for unknown in ("", "elsewhere-1-4194305", f"{here}x", here):
        assert process.has_ended(unknown) is None


def test_a_container_with_the_same_host_name_tells_nothing_about_ours():
    """There, the id of this process is that of another one, or of none."""
    command = [sys.executable, "-c", CODE, process.writer_name()]
    inside = subprocess.run(["unshare", "--pid", "--fork", *command], capture_output=True, text=True, check=False)
    if inside.returncode:
        pytest.skip(f"NO PID NAMESPACE HERE: {inside.stderr}; run this test as root")
    name, ours_has_ended = inside.stdout.split()
    assert ours_has_ended == "None"
    assert process.has_ended(name) is None
