"""A wall clock that jumps by hours, forth and back: no pace or remaining time becomes negative."""

import json
import re
import time

import pytest

from jobs import status
from tests.chaos.case import Case

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


def test_a_clock_that_jumps(corpus: Case, undisturbed, tmp_path):
    """In the driver and in the actors, at every call; see tests/chaos/hooks."""
    case = corpus.but(run=str(tmp_path / "run"), extra={"CHAOS_CLOCK": "1"})
    began = time.monotonic()
    out, messages = case.finish("--json")
    took = time.monotonic() - began
    result = json.loads(out)
    assert 0 < result["seconds"] < took
    assert 0 < result["startup_seconds"] < took
    assert all(0 <= seconds < took for seconds in result["stages"].values())
    lines = re.findall(r"(\d+)/48 pairs · (\S+) frames/s(?: · ETA (\S+))?", messages)
    assert lines
    for _, pace, left in lines:
        assert 0 < float(pace) < 1000
        assert re.fullmatch(r"\d\d?:\d\d|", left)
    shown = status.run(status.StatusConfig(run=case.run))
    assert shown.state == "done"
    assert shown.last_commit >= 0
    case.assert_whole(undisturbed, "a clock that jumps at every call")
