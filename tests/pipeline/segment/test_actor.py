"""An actor without Ray: units in, receipts out, each unit made once."""

import errno
import json
import os
import re
import threading
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch

from pipeline.io import local, storage
from pipeline.runs import retry_step
from pipeline.runs.attempts import STARTING, Marker, sweep
from pipeline.runs.audit import audit_run
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter
from pipeline.runs.plan import PlanOptions
from pipeline.runs.receipts import receipts_of
from pipeline.runs.retry import to_repair
from pipeline.runs.retry_step import LAST_TURN, MAX_CONTROL_DEATHS
from pipeline.runs.run import Run, Unit
from pipeline.segment import actor
from pipeline.segment.actor import MAX_NOT_FINITE, Invocation, UnitAnswer, UnitSegmenter
from pipeline.segment.clips import FrameOptions
from pipeline.segment.model_options import ModelOptions
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.pipeline.segment.fake import FakeSegmenter

TWO_NODES = [{"NodeID": name, "Alive": True} for name in ("node", "other")]


@pytest.fixture
def run(tmp_path, video) -> Run:
    rows = [{"video_id": "v", "video_uri": video, "expression_id": str(n), "expression": "a"} for n in range(2)]
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions())
    return run


@pytest.fixture
def segmenter(monkeypatch) -> FakeSegmenter:
    segmenter = FakeSegmenter()
    monkeypatch.setattr(ModelOptions, "load", lambda options: segmenter)
    context = SimpleNamespace(get_node_id=lambda: "node", get_accelerator_ids=dict)
    monkeypatch.setattr(actor.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(actor.ray, "nodes", lambda: [{"NodeID": "node", "Alive": True}])
    return segmenter


def ask(made: UnitSegmenter, unit: Unit) -> UnitAnswer:
    (row,) = made(pa.Table.from_pylist([asdict(unit)])).to_pylist()
    return UnitAnswer(**row)


def call(made: UnitSegmenter, unit: Unit) -> dict:
    return json.loads(ask(made, unit).receipt)


def unit_segmenter(run: Run, **options) -> UnitSegmenter:
    return UnitSegmenter(run, ModelOptions(checkpoint="c"), FrameOptions(window=3), Invocation(name="i", **options))


def test_a_unit_that_comes_twice_is_made_once(run, segmenter):
    (unit,) = run.units()
    made = unit_segmenter(run)
    first, second = call(made, unit), call(made, unit)
    assert (first["pairs"], first["frames"], first["fresh"]) == (2, 10, True)
    assert second == first | {
        "fresh": False,
        "version": "",
        "seconds": second["seconds"],
    }  # with the time of the commit
    assert len(segmenter.calls) == 2  # windows
    assert not storage.names(storage.join(run.folder, "attempts", unit.unit_id))


def test_a_run_that_was_begun_again_takes_no_units_of_the_old_command(run, segmenter):
    (unit,) = run.units()
    made = unit_segmenter(run)
    storage.remove(storage.join(run.folder, "run.json"))
    storage.remove_folder(storage.join(run.folder, "attempts"))
    Path(run.folder, "plan").rename(Path(run.folder).parent / "plan")
    again = Run.start(run.folder, "f", {}, {})
    Path(run.folder).parent.joinpath("plan").rename(Path(run.folder, "plan"))
    with pytest.raises(InputError, match="was removed and begun again"):
        call(made, unit)
    assert again.committed() == set()


def test_a_host_without_the_mount_of_the_run_is_left_out_and_gets_nothing_written(run, segmenter, tmp_path):
    """From the start, or from the middle of the run on; below the mount is an empty folder."""
    (unit,) = run.units()
    for made in (None, unit_segmenter(run)):
        Path(run.folder).rename(tmp_path / "mounted")
        Path(run.folder).mkdir()
        answer = ask(made or unit_segmenter(run), unit)
        assert (answer.failed, answer.exit_code) == (True, 3)
        assert re.search("has no run.json on host .*: the run was removed, or its mount is missing", answer.reason)
        assert os.listdir(run.folder) == []
        os.rmdir(run.folder)
        (tmp_path / "mounted").rename(run.folder)
    assert call(unit_segmenter(run), unit)["frames"] == 10


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.EROFS])
def test_a_host_that_cannot_write_to_the_run_is_left_out(run, segmenter, monkeypatch, number):
    (unit,) = run.units()
    made = unit_segmenter(run)

    def fail(*_, **__) -> None:
        raise OSError(number, os.strerror(number), run.folder)

    monkeypatch.setattr(local, "link", fail)
    answer = ask(made, unit)
    assert (answer.failed, answer.exit_code) == (True, 3)
    assert os.strerror(number) in answer.reason
    assert re.search("host .* cannot use .*; check its mounts, then repeat the command", answer.reason)
    assert run.committed() == set()
    assert ask(made, unit).failed  # a process whose chain has ended


@pytest.mark.parametrize("damage", [b"", b"half of a file", None])
def test_a_damaged_unit_is_repaired(run, segmenter, damage):
    (unit,) = run.units()
    call(unit_segmenter(run), unit)
    path = Path(run.masks_uri(unit.unit_id))
    whole = path.read_bytes()
    path.write_bytes(whole[:50] + bytes([whole[50] ^ 1]) + whole[51:] if damage is None else damage)
    if damage is not None:
        with pytest.raises(InputError, match="--repair"):
            list(receipts_of(run, [unit.unit_id]))
    (todo,) = to_repair(run, [unit], run.committed())
    receipt = call(unit_segmenter(run), todo)
    assert (receipt["pairs"], receipt["frames"], receipt["generation"], receipt["fresh"]) == (2, 10, 1, True)
    assert to_repair(run, [unit], run.committed()) == []
    assert audit_run(run).clean
    assert not call(unit_segmenter(run), todo)["fresh"]  # another command has repaired it


def test_processes_that_die_while_they_start_are_not_restarted_for_ever(run, segmenter):
    marker = asdict(Marker(invocation="i", node="node", pid=2**22 + 1))
    (unit,) = run.units()
    for number in range(actor.MAX_START_DEATHS):
        assert unit_segmenter(run).error is None
        uri = storage.join(run.folder, "attempts", STARTING, f"{number}.json")
        storage.write_bytes(uri, json.dumps(marker).encode())
    answer = ask(unit_segmenter(run), unit)
    assert answer.failed
    assert re.search("5 processes have died on host .* while they loaded the model", answer.reason)


def leave_marker(run: Run, unit: Unit, **changes) -> str:
    marker = asdict(Marker(**{"invocation": "earlier", "node": "node", "pid": 2**22 + 1} | changes))
    uri = storage.join(run.folder, "attempts", unit.unit_id, f"{os.urandom(4).hex()}.json")
    storage.write_bytes(uri, json.dumps(marker).encode())
    return uri


def test_a_unit_whose_driver_or_node_died_waits_for_its_turn_and_is_refused_in_the_end(run, segmenter):
    (unit,) = run.units()
    made, pair = unit_segmenter(run), ("v", "0")

    def answer(turn: int) -> tuple[str, str]:
        found = ask(made, replace(unit, turn=turn))
        assert not found.failed
        return found.receipt, found.reason

    leave_marker(run, unit)
    assert answer(0) == ("", "")
    leave_marker(run, unit, node="gone", invocation="i")
    assert answer(1) == ("", "")
    for _ in range(2):
        leave_marker(run, unit, pair=pair)
    receipt, reason = answer(2)
    assert not receipt
    assert "video_id=v expression_id=0: its driver or node ended 2 times while it was segmented alone" in reason
    storage.remove_folder(storage.join(run.folder, "attempts", unit.unit_id))
    assert json.loads(answer(0)[0])["pairs"] == 2


def test_a_host_on_which_processes_die_whatever_they_do_ends_the_command(run, segmenter):
    (unit,) = run.units()
    for _ in range(2):
        leave_marker(run, unit, invocation="i")
    leave_marker(run, unit, invocation="i", pair=("v", "0"))
    for _ in range(MAX_CONTROL_DEATHS):
        leave_marker(run, unit, invocation="i", pair=("v", "0"), is_control=True)
    answer = ask(unit_segmenter(run), unit)
    assert answer.failed
    assert re.search("5 processes have died on host .* while they segmented an empty", answer.reason)


def test_a_model_that_does_not_load_is_the_matter_of_its_host(run, segmenter, monkeypatch):
    def load(options):
        raise InputError("--device cuda: no GPU")

    monkeypatch.setattr(ModelOptions, "load", load)
    answer = ask(unit_segmenter(run), *run.units())
    assert (answer.failed, answer.reason, answer.exit_code) == (True, "--device cuda: no GPU", 2)


@pytest.fixture
def gpu(monkeypatch, segmenter) -> str:
    """The GPU of a host with two, where the actors of the test work."""
    context = SimpleNamespace(get_node_id=lambda: "node", get_accelerator_ids=lambda: {"GPU": ["1"]})
    monkeypatch.setattr(actor.ray, "get_runtime_context", lambda: context)
    monkeypatch.setattr(actor.ray, "nodes", lambda: [{"NodeID": "node", "Alive": True, "Resources": {"GPU": 2.0}}])
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)  # a torch for GPUs would look for it
    return "1"


def test_a_pair_goes_to_another_gpu_of_the_host_before_it_is_blamed(run, gpu):
    (unit,) = run.units()
    for _ in range(2):
        leave_marker(run, unit, invocation="i", gpu=gpu)
        leave_marker(run, unit, invocation="i", gpu=gpu, pair=("v", "0"))
    answer = ask(unit_segmenter(run), unit)
    assert (answer.moves, answer.place) == (True, ("node", gpu))
    leave_marker(run, unit, invocation="i", gpu="0", pair=("v", "0"))
    receipt = call(unit_segmenter(run), replace(unit, turn=1))
    assert (receipt["failed"], receipt["frames"]) == ({"crash": 1}, 5)
    (error,) = receipt["errors"]
    assert ("GPU 0" in error, "GPU 1" in error) == (True, True)


def test_a_gpu_without_any_finite_output_is_left_out(many_units, gpu):
    made, units = unit_segmenter(many_units), many_units.units()
    answers = [ask(made, unit) for unit in units]
    assert [answer.moves for answer in answers] == [True] * (MAX_NOT_FINITE - 1) + [False] * 3
    assert re.search("on GPU 1 of host .* was not finite in the first 10 units", answers[-1].reason)
    assert many_units.committed() == set()


def test_deaths_on_another_gpu_are_not_counted(run, gpu):
    (unit,) = run.units()
    for number in range(actor.MAX_START_DEATHS):
        marker = asdict(Marker(invocation="i", node="node", gpu="0", pid=2**22 + 1))
        uri = storage.join(run.folder, "attempts", STARTING, f"{number}.json")
        storage.write_bytes(uri, json.dumps(marker).encode())
    assert call(unit_segmenter(run), unit)["pairs"] == 2


def test_a_gpu_that_was_left_out_is_not_used_again(run, gpu, segmenter):
    made = UnitSegmenter(run, ModelOptions(checkpoint="c"), FrameOptions(), Invocation(name="i"), {("node", gpu)})
    answer = ask(made, *run.units())
    assert (answer.failed, segmenter.calls) == (True, [])
    assert "GPU 1 of host" in answer.reason


def test_a_gpu_that_torch_does_not_find_is_no_cpu(run, gpu, monkeypatch):
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    answer = ask(unit_segmenter(run), *run.units())
    assert answer.failed
    assert "torch cannot use GPU 1 of host" in answer.reason


def test_a_host_that_has_read_nothing_leaves_videos_that_it_does_not_find_to_others(run, segmenter, monkeypatch, video):
    (unit,) = run.units()
    Path(video).rename(video + "-elsewhere")
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    answer = ask(unit_segmenter(run), unit)
    assert (answer.receipt, answer.absent, answer.blind, answer.failed) == ("", True, True, False)
    assert video in answer.reason
    assert run.committed() == set()
    assert call(unit_segmenter(run), replace(unit, turn=1))["failed"] == {"missing": 2}


def test_a_video_that_one_host_does_not_find_is_left_to_another_one(run, segmenter, monkeypatch, video):
    """Also if it has read others: these may be on another mount."""
    rows = [{"video_id": "w", "video_uri": f"{video}-elsewhere", "expression_id": "0", "expression": "a"}]
    run.extend_plan(pa.concat_tables([run.manifest(), pa.Table.from_pylist(rows)]), "m", PlanOptions())
    first, second = run.units()
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    made = unit_segmenter(run)
    assert call(made, first)["frames"] == 10
    answer = ask(made, second)
    assert (answer.receipt, answer.absent, answer.blind, answer.failed) == ("", True, False, False)
    assert "-elsewhere does not exist there" in answer.reason
    assert run.committed() == {first.unit_id}
    assert call(made, replace(second, turn=1))["failed"] == {"missing": 1}


def test_a_pair_that_does_not_fit_waits_for_a_host_with_more_memory(run, segmenter, monkeypatch, video):
    rows = [{"video_id": "w", "video_uri": video, "expression_id": "0", "expression": "out of memory"}]
    run.extend_plan(pa.concat_tables([run.manifest(), pa.Table.from_pylist(rows)]), "m", PlanOptions())
    unit = run.units()[1]
    assert call(unit_segmenter(run), unit)["failed"] == {"oom": 1}  # the only host
    storage.remove(run.masks_uri(unit.unit_id))
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    answer = ask(unit_segmenter(run), unit)
    assert (answer.receipt, answer.moves, answer.failed) == ("", True, False)
    assert not storage.exists(run.masks_uri(unit.unit_id))
    assert storage.names(storage.join(run.folder, "attempts", unit.unit_id), missing_ok=True) == []
    assert call(unit_segmenter(run), replace(unit, turn=1))["failed"] == {"oom": 1}


@pytest.fixture
def many_units(tmp_path, video) -> Run:
    """A run of a unit for each video, with the sentence "nan"."""
    count = MAX_NOT_FINITE + 2
    rows = [{"video_id": f"v{n}", "video_uri": video, "expression_id": "0", "expression": "nan"} for n in range(count)]
    run = Run.start(str(tmp_path / "many"), "f", {}, {})
    run.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions(unit_frames=1))
    return run


def test_output_that_is_not_finite_is_left_to_another_host_first(many_units, segmenter, monkeypatch):
    bad = many_units.units()[0]
    assert call(unit_segmenter(many_units), bad)["failed"] == {"nan": 1}  # the only host
    storage.remove(many_units.masks_uri(bad.unit_id))
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    made = unit_segmenter(many_units)
    assert ask(made, bad).moves
    assert call(made, replace(bad, turn=1))["failed"] == {"nan": 1}


def test_a_host_without_any_finite_output_is_left_out(many_units, segmenter, monkeypatch):
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    made, units = unit_segmenter(many_units), many_units.units()
    answers = [ask(made, unit) for unit in units]
    assert [answer.moves for answer in answers] == [True] * (MAX_NOT_FINITE - 1) + [False] * 3
    assert [answer.failed for answer in answers] == [False] * (MAX_NOT_FINITE - 1) + [True] * 3
    assert re.search("on host .* was not finite in the first 10 units", answers[-1].reason)
    assert many_units.committed() == set()


def test_a_host_with_masks_is_not_left_out(run, many_units, segmenter, monkeypatch, video):
    rows = [{"video_id": "good", "video_uri": video, "expression_id": "0", "expression": "a"}]
    many_units.extend_plan(pa.concat_tables([many_units.manifest(), pa.Table.from_pylist(rows)]), "m", PlanOptions())
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    made = unit_segmenter(many_units)
    *bad, good = many_units.units()
    assert call(made, good)["frames"] == 5
    assert all(ask(made, unit).moves for unit in bad)


def commit_failures(run, unit, *statuses):
    """Commit a unit with an error row of each status."""
    with UnitWriter(run.masks_uri(unit.unit_id), Receipt(unit.unit_id, "f", run_id=run.run_id)) as writer:
        for number, status in enumerate(statuses):
            row = {"video_id": "v", "expression_id": str(number), "status": status, "error": "then"}
            writer.write(pa.Table.from_pylist([row], schema=PREDICTIONS))
        writer.commit()


def test_rows_that_a_retry_keeps_move_no_unit(run, segmenter, monkeypatch):
    (unit,) = run.units()
    commit_failures(run, unit, "missing", "nan")
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    receipt = call(unit_segmenter(run, retry_statuses=("missing",)), replace(unit, generation=1))
    assert (receipt["failed"], receipt["frames"]) == ({"nan": 1}, 5)


@pytest.mark.parametrize(("status", "changes"), [("crash", {}), ("timeout", {"timed_out": True, "timeout": 5.0})])
def test_a_pair_is_blamed_only_after_it_failed_on_another_host_too(run, segmenter, monkeypatch, status, changes):
    (unit,), pair = run.units(), ("v", "0")
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    for _ in range(2):
        leave_marker(run, unit, invocation="i", **changes)
        leave_marker(run, unit, invocation="i", pair=pair, **changes)
    made = unit_segmenter(run)
    assert (ask(made, unit).moves, ask(made, replace(unit, turn=1)).moves) == (True, True)
    assert not segmenter.calls
    leave_marker(run, unit, invocation="i", pair=pair, node="other", **changes)
    receipt = call(made, replace(unit, turn=1))
    assert (receipt["failed"], receipt["frames"]) == ({status: 1}, 5)


def test_a_pair_that_died_on_another_host_is_segmented(run, segmenter, monkeypatch):
    (unit,) = run.units()
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES)
    monkeypatch.setattr(retry_step, "CONTROL_SECONDS", 0.0)
    for _ in range(2):
        leave_marker(run, unit, invocation="i", node="other")
        leave_marker(run, unit, invocation="i", node="other", pair=("v", "0"))
    receipt = call(unit_segmenter(run), replace(unit, turn=1))
    assert (receipt["failed"], receipt["frames"]) == ({}, 10)


@pytest.mark.parametrize(("nodes", "turn"), [(1, 0), (2, LAST_TURN)])
def test_a_pair_that_no_other_host_can_try_is_blamed_after_two_deaths(run, segmenter, monkeypatch, nodes, turn):
    (unit,) = run.units()
    monkeypatch.setattr(actor.ray, "nodes", lambda: TWO_NODES[:nodes])
    for _ in range(2):
        leave_marker(run, unit, invocation="i")
        leave_marker(run, unit, invocation="i", pair=("v", "0"))
    receipt = call(unit_segmenter(run), replace(unit, turn=turn))
    assert (receipt["failed"], receipt["frames"]) == ({"crash": 1}, 5)


def test_a_defect_ends_the_process(run, segmenter, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(actor.os, "_exit", lambda code: ended.set())
    segmenter.segment = lambda *_: [][0]
    threading.Thread(target=call, args=[unit_segmenter(run), *run.units()], daemon=True).start()
    assert ended.wait(60)


def test_what_finished_attempts_leave_is_swept(run):
    (unit,) = run.units()
    live, other = leave_marker(run, unit, pid=os.getppid()), replace(unit, unit_id="not-done")
    for left in (unit, other, replace(unit, unit_id=STARTING)):
        leave_marker(run, left)
    folder = storage.join(run.folder, "attempts")
    sweep(folder, {unit.unit_id})
    assert storage.names(folder) == sorted([unit.unit_id, "not-done", STARTING])
    sweep(folder, {unit.unit_id, STARTING})
    assert storage.names(folder) == sorted([unit.unit_id, "not-done"])
    assert storage.names(storage.join(folder, unit.unit_id)) == [storage.file_name(live)]


def test_two_commands_that_retry_different_statuses_at_once_both_get_their_pairs(run, segmenter, monkeypatch):
    (unit,) = run.units()
    commit_failures(run, unit, "missing", "oom")
    again, read, first = replace(unit, generation=1), ReplacedObject.read, [1]
    missing, oom = unit_segmenter(run, retry_statuses=("missing",)), unit_segmenter(run, retry_statuses=("oom",))

    def read_before_the_other(uri, statuses):
        found = read(uri, statuses)
        if first:
            first.clear()
            assert call(missing, again)["failed"] == {"oom": 1}
        return found

    monkeypatch.setattr(ReplacedObject, "read", read_before_the_other)
    receipt = call(oom, again)
    assert (receipt["failed"], receipt["frames"], receipt["generation"], receipt["fresh"]) == ({}, 10, 2, True)
    assert audit_run(run).clean


def test_the_clock_of_an_attempt_runs_while_the_model_works(run, segmenter):
    running = []
    segment = segmenter.segment

    def watched(*args):
        running.append(timers())
        yield from segment(*args)

    def timers() -> int:
        return sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())

    segmenter.segment = watched
    before = timers()
    call(unit_segmenter(run, timeout=600.0), *run.units())
    assert running == [before + 1] * 2
    assert timers() == before
