"""Advice fits the place where it is read: options of `rvos segment` only where there is a run."""

import re
from pathlib import Path

import pytest

from schemas import advice

ROOT = Path(__file__).resolve().parents[2]
ELSEWHERE = {"pipeline/segment/reachable.py", "pipeline/export/all_frames.py"}  # ends the command; speaks of a run


@pytest.mark.parametrize("way", advice.ALL)
def test_no_option_of_a_run_where_there_is_none(way):
    row = f"v.mp4: something is wrong; {way.run}"
    assert "--retry-errors" in row
    assert "--" not in advice.for_python(row)
    assert advice.for_python(row).endswith(way.python)
    assert "--retry-errors" not in advice.outside_a_run(row)


def test_reasons_of_error_rows_take_their_advice_from_here():
    found = {
        str(path.relative_to(ROOT))
        for folder in ("model", "pipeline")
        for path in (ROOT / folder).rglob("*.py")
        if re.search("--retry-errors", path.read_text())
    }
    assert found == ELSEWHERE
