import signal
import subprocess
import sys
import time
from itertools import islice
from types import SimpleNamespace

import pyarrow as pa
import pytest

from jobs import audit, status
from pipeline.io import storage
from pipeline.runs import commit
from pipeline.runs.commit import Receipt, UnitWriter
from pipeline.runs.log import invocation_log
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from schemas.errors import InputError
from schemas.masks import PREDICTIONS


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def run(request, tmp_path) -> Run:
    """Four units of one pair and 20 planned pair-frames each."""
    folder = str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"
    run = Run.start(folder, "f", {}, {})
    rows = [
        {"video_id": v, "video_uri": f"/{v}", "expression_id": "0", "expression": "x", "num_frames": 20} for v in "abcd"
    ]
    run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions(unit_frames=20))
    return run


def commit_unit(run: Run, number: int, started: float, ended: float, status: str = "ok") -> None:
    unit = run.units()[number]
    ids = {"video_id": PlanReader(run).rows(unit)["video_id"][0].as_py(), "expression_id": "0", "status": status}
    frame = {"frame_index": 0, "height": 2, "width": 2, "counts": b"4"}
    rows = [ids | frame | {"frame_index": i} for i in range(20)] if status == "ok" else [ids | {"error": "gone"}]
    with pytest.MonkeyPatch.context() as patch:
        clock = SimpleNamespace(monotonic=iter([0.0, ended - started]).__next__, time=lambda: started)
        patch.setattr(commit, "time", clock)
        with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, "f", started=started)) as writer:
            writer.write(pa.Table.from_pylist(rows, schema=PREDICTIONS))
            writer.commit()


def state(run: Run) -> status.StatusResult:
    return status.run(status.StatusConfig(run=run.folder))


def test_before_the_first_unit(run):
    result = state(run)
    assert (result.state, result.pairs, result.pairs_done, result.eta) == ("planned", 4, 0, None)


def test_under_way(run):
    now = time.time()
    commit_unit(run, 0, now - 20, now - 10)
    commit_unit(run, 1, now - 10, now - 1)
    result = state(run)
    assert (result.state, result.pairs_done, result.units_done, result.frames) == ("running", 2, 2, 40)
    assert result.frames_per_second == pytest.approx(40 / 19)
    assert result.eta == pytest.approx(19)
    assert "ETA 0:19" in result.text()


def test_when_nobody_works_on_it_any_more(run):
    commit_unit(run, 0, time.time() - 4010, time.time() - 4000)
    commit_unit(run, 1, time.time() - 4000, time.time() - 3990)
    result = state(run)
    assert (result.state, result.eta, result.frames_per_second) == ("stopped", None, pytest.approx(2))
    assert "ETA" not in result.text() + result.line()


@pytest.mark.parametrize(("error", "state_then"), [(KeyboardInterrupt(), "interrupted"), (InputError("x"), "failed")])
def test_an_end_is_shown_at_once(run, error, state_then):
    with pytest.raises(type(error)), invocation_log(run, "first", {}):
        assert state(run).state == "planned"
        commit_unit(run, 0, time.time() - 20, time.time() - 10)
        commit_unit(run, 1, time.time() - 10, time.time() - 1)
        assert state(run).state == "running"
        assert state(run).eta
        raise error
    assert (state(run).state, state(run).eta) == (state_then, None)
    assert f"{run.folder}: {state_then}" in state(run).text()
    with invocation_log(run, "second", {}):
        assert state(run).state == "running"
    assert state(run).state == "stopped"  # it has done its share


def test_rest_does_not_count_and_neither_does_a_clock_that_jumps(run):
    now = time.time()
    commit_unit(run, 0, now - 9000, now - 8990)
    commit_unit(run, 1, now - 10, now - 1)
    assert state(run).eta == pytest.approx(19)
    commit_unit(run, 2, now + 7200, now + 7210)  # by the clock of a node that is ahead
    result = state(run)
    assert (result.state, result.last_commit) == ("running", 0)
    assert result.frames_per_second == pytest.approx(60 / 29)
    assert result.eta == pytest.approx(29 / 3)
    assert "-" not in result.text().replace(run.folder, "")


def test_at_the_end(run):
    now = time.time()
    for number in range(4):
        commit_unit(run, number, now - 40 + 10 * number, now - 30 + 10 * number, "missing" if number == 3 else "ok")
    result = state(run)
    assert (result.state, result.pairs_done, result.failed, result.eta) == ("done", 4, {"missing": 1}, None)
    assert audit.run(audit.AuditConfig(run=run.folder)).exit_code == 0
    assert state(run).state == "audited"


def test_no_run(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        status.run(status.StatusConfig(run=str(tmp_path)))


@pytest.fixture
def looks(run, monkeypatch):
    """Watch the run; `looks` collects the lines, and the function in `between` runs between two looks."""
    shown, between = [], []
    monkeypatch.setattr(status, "update", lambda text, at_once: shown.append(text))
    monkeypatch.setattr(status.time, "sleep", lambda seconds: between.pop(0)())
    return SimpleNamespace(
        shown=shown,
        between=between,
        watch=lambda: status.run(status.StatusConfig(run=run.folder, watch=True, interval=0.5)),
    )


def test_watching_to_the_end_of_the_run(run, looks):
    now = time.time()
    looks.between += [
        lambda number=number: commit_unit(run, number, now - 40, now - 20, "missing" if number == 1 else "ok")
        for number in range(4)
    ]
    result = looks.watch()
    assert (result.state, result.exit_code, result.failed) == ("done", 0, {"missing": 1})
    assert looks.shown[0] == "planned · 0/4 pairs · 0 failed"
    assert looks.shown[3].startswith("running · 3/4 pairs · ")
    assert looks.shown[3].endswith(" · 1 failed")
    assert "watched" not in result.to_json()


def test_watching_reads_each_unit_once_and_all_at_the_end(run, looks, monkeypatch):
    now, read = time.time(), []
    receipts = status.receipts_of
    monkeypatch.setattr(status, "receipts_of", lambda run, ids: receipts(run, read.append(list(ids)) or read[-1]))
    looks.between += [lambda number=number: commit_unit(run, number, now - 9, now) for number in range(4)]
    looks.watch()
    assert [len(ids) for ids in read] == [0, 1, 1, 1, 1, 4]


def test_watching_ends_when_nobody_works_on_the_run(run, looks, monkeypatch):
    monkeypatch.setattr(status, "STARTING_SECONDS", 0.0)
    with pytest.raises(InputError, match="mend"), invocation_log(run, "first", {}):
        looks.between.append(lambda: None)
        run.write_log("second", {"state": "running"})
        raise InputError("mend it")
    looks.between.append(lambda: run.write_log("second", {"state": "interrupted", "ended": "2099-01-01"}))
    result = looks.watch()
    assert (result.state, result.exit_code, len(looks.shown)) == ("interrupted", 1, 2)
    assert state(run).exit_code == 0


def test_watching_waits_for_a_command_that_starts(run, looks):
    run.write_log("first", {"state": "done"})
    now = time.time()
    looks.between += [lambda number=number: commit_unit(run, number, now - 9, now) for number in range(4)]
    assert looks.watch().state == "done"


def test_a_line_for_each_look_without_a_terminal(run):
    command = [sys.executable, "-m", "cli", "status", run.folder, "--watch", "--interval", "0.05"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as watching:
        lines = [line for line in islice(watching.stderr, 4) if "status: working" not in line]  # on a busy machine
        watching.send_signal(signal.SIGINT)
        output, messages = watching.communicate(timeout=60)
    assert all("status: planned · 0/4 pairs · 0 failed" in line for line in lines)
    assert (watching.returncode, output) == (130, "")
    assert messages.splitlines()[-1] == "Interrupted."


def test_units_without_a_plan_are_not_done(run):
    now = time.time()
    for number in range(4):
        commit_unit(run, number, now - 20, now - 10)
    storage.write_bytes(run.masks_uri("0" * 20), storage.read_bytes(run.masks_uri(run.units()[0].unit_id)))
    result = state(run)
    assert (result.state, result.pairs_done, result.unplanned) == ("done", 4, 1)
    assert "1 committed units are not in the plan; run 'rvos audit" in result.text()
    storage.remove(run.part_uri(0))
    with pytest.raises(InputError, match="has 5 committed units but no plan; run 'rvos audit'"):
        state(run)


def test_a_copy_of_another_unit_is_no_unit(run):
    now = time.time()
    for number in range(4):
        commit_unit(run, number, now - 20, now - 10)
    first, second = [run.masks_uri(unit.unit_id) for unit in run.units()[:2]]
    storage.write_bytes(first, storage.read_bytes(second))
    with pytest.raises(InputError, match=f"{first} is a copy of unit"):
        state(run)
