import contextlib
import errno
import json
import os
import signal
import socket
from pathlib import Path

import pyarrow as pa
import pytest

from cli import Interrupted
from pipeline.io import parquet, storage
from pipeline.runs import audit, commit
from pipeline.runs.audit import Audit, audit_run
from pipeline.runs.audit_against import compare_with_manifest
from pipeline.runs.commit import Receipt, ReplacedObject, UnitWriter, read_receipt, unit_pairs
from pipeline.runs.log import invocation_log, latest_state, logged_parts
from pipeline.runs.moved import moved_videos, note_moved_videos, rebased, with_planned_uris
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.receipts import ReceiptNotes
from pipeline.runs.run import Run
from schemas.errors import InfrastructureError, InputError, StorageError
from schemas.masks import PREDICTIONS


def manifest(pairs: list[tuple[str, str]]) -> pa.Table:
    rows = [
        {"video_id": v, "video_uri": f"/{v}", "expression_id": e, "expression": "x", "num_frames": 40} for v, e in pairs
    ]
    return pa.Table.from_pylist(rows)


def rows_of(video: str, expression: str, frames: int) -> pa.Table:
    rows = [
        {
            "video_id": video,
            "expression_id": expression,
            "frame_index": i,
            "frame_name": f"{i:05}",
            "height": 2,
            "width": 2,
            "counts": b"4",
            "score": 0.5,
            "box": [0, 0, 1, 1],
            "pair_score": 0.5,
            "query": 0,
            "status": "ok",
        }
        for i in range(frames)
    ]
    return pa.Table.from_pylist(rows, schema=PREDICTIONS)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3)])
def folder(request, tmp_path):
    return str(tmp_path / "run") if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture
def run(folder):
    return Run.start(folder, "f", {"window": "36"}, {"config": {}})


def extend(run, pairs, limit=None):
    run.extend_plan(manifest(pairs), "m", PlanOptions(unit_frames=40), limit=limit)


def test_a_run_is_opened_again_with_the_same_fingerprint_only(run):
    assert Run.start(run.folder, "f", {"window": "36"}, {}) == run == Run.open(run.folder)
    with pytest.raises(InputError, match="window: '36', now 'whole'"):
        Run.start(run.folder, "g", {"window": "whole"}, {})


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty and has no run.json"):
        Run.start(str(tmp_path), "f", {}, {})
    with pytest.raises(InputError, match="no run.json"):
        Run.open(str(tmp_path))


def test_units_are_row_ranges_of_their_part(run):
    extend(run, [("a", "0"), ("a", "1"), ("b", "0")])
    units = run.units()
    assert [(unit.part, unit.start, unit.stop, unit.pair_frames) for unit in units] == [(0, 0, 2, 80), (0, 2, 3, 40)]
    assert PlanReader(run).rows(units[0])["expression_id"].to_pylist() == ["0", "1"]
    assert PlanReader(run).rows(units[1])["video_id"].to_pylist() == ["b"]


def test_growing_adds_a_part_and_repeating_does_not(run):
    extend(run, [("a", "0"), ("b", "0")])
    extend(run, [("a", "0"), ("b", "0")])
    assert run.parts() == [0]
    extend(run, [("c", "0"), ("a", "0"), ("b", "0")])
    assert run.parts() == [0, 1]
    assert run.manifest()["video_id"].to_pylist() == ["a", "b", "c"]


def test_a_limit_plans_the_first_pairs_and_lifting_it_the_rest(run):
    pairs = [("a", "0"), ("b", "0"), ("c", "0")]
    extend(run, pairs, limit=1)
    assert run.manifest()["video_id"].to_pylist() == ["a"]
    extend(run, pairs, limit=2)
    extend(run, pairs)
    assert run.manifest()["video_id"].to_pylist() == ["a", "b", "c"]


def test_reserved_columns_are_refused(run):
    with pytest.raises(InputError, match="unit_id"):
        run.extend_plan(manifest([("a", "0")]).append_column("unit_id", pa.array(["u"])), "m",
                        PlanOptions(unit_frames=1))  # fmt: skip


def test_a_unit_is_visible_only_when_committed(run):
    uri = run.masks_uri("u")
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("a", "0", 3))
        assert run.committed() == set()
        receipt = writer.commit()
    assert run.committed() == {"u"}
    assert (receipt.pairs, receipt.frames, receipt.fresh) == (1, 3, True)
    assert unit_pairs(uri) == {("a", "0")}
    assert read_receipt(uri).frames == 3


def test_a_writer_that_fails_leaves_nothing(run):
    with pytest.raises(RuntimeError), UnitWriter(run.masks_uri("u"), Receipt("u", "f")) as writer:
        writer.write(rows_of("a", "0", 3))
        raise RuntimeError
    assert run.committed() == set()


def test_the_second_writer_takes_the_first_ones_receipt(run):
    for frames in (3, 4):
        with UnitWriter(run.masks_uri("u"), Receipt("u", "f")) as writer:
            writer.write(rows_of("a", "0", frames))
            receipt = writer.commit()
    assert (receipt.frames, receipt.fresh) == (3, False)


@pytest.mark.parametrize(("fingerprint", "expression"), [("g", "0"), ("f", "1")])
def test_an_object_of_other_content_is_not_trusted(run, fingerprint, expression):
    with UnitWriter(run.masks_uri("u"), Receipt("u", "f")) as writer:
        writer.write(rows_of("a", "0", 1))
        writer.commit()
    with (
        pytest.raises(InfrastructureError, match="other pairs or another fingerprint"),
        UnitWriter(run.masks_uri("u"), Receipt("u", fingerprint)) as writer,
    ):
        writer.write(rows_of("a", expression, 1))
        writer.commit()


def test_a_file_without_receipt_is_named(run):
    parquet.write_table(run.masks_uri("u"), rows_of("a", "0", 1))
    with pytest.raises(InfrastructureError, match="no receipt"):
        read_receipt(run.masks_uri("u"))


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (None, "done", None),
        (ValueError("a defect"), "failed", "a defect"),
        (ValueError(), "failed", "ValueError"),
        (KeyboardInterrupt(), "interrupted", "interrupted"),
        (Interrupted(signal.SIGINT), "interrupted", "interrupted by SIGINT (Ctrl-C)"),
        (Interrupted(signal.SIGTERM), "interrupted", "interrupted by SIGTERM"),
        (SystemExit(3), "interrupted", "ended with exit code 3"),
    ],
)
def test_each_invocation_leaves_a_log(run, error, state, reason):
    extend(run, [("a", "0")])

    def read():
        return json.loads(storage.read_bytes(storage.join(run.folder, "log", "i.json")))

    with contextlib.suppress(ValueError, KeyboardInterrupt, SystemExit), invocation_log(run, "i", {"units": 1}) as log:
        assert {name: read()[name] for name in ("state", "plan", "units")} == {
            "state": "running",
            "plan": [0],
            "units": 1,
        }
        assert latest_state(run) == "running"
        log["pairs"] = 3
        if error:
            raise error
    assert (read()["state"], read()["pairs"], read().get("error")) == (state, 3, reason)
    assert read()["began"] <= read()["ended"]
    assert latest_state(run) == state
    assert logged_parts(run) == {0}


def test_the_latest_state_is_that_of_the_last_end_unless_one_may_be_at_work(run):
    assert latest_state(run) is None
    here = {"host": socket.gethostname(), "pid_namespace": os.readlink("/proc/self/ns/pid")}
    here |= {"pid": 2**22 + 1}  # no process has such an id
    run.write_log("20260101T000000-a", {"state": "running", "began": "2026-01-01T00:00:00.000+00:00", **here})
    assert latest_state(run) == "stopped"
    run.write_log("20260102T000000-b", {"state": "done", "began": "2026-01-02", "ended": "2026-01-05"})
    run.write_log("20260103T000000-c", {"state": "interrupted", "began": "2026-01-03", "ended": "2026-01-04"})
    assert latest_state(run) == "done"
    run.write_log("20260106T000000-d", {"state": "running", "began": "2026-01-06", "host": "another", "pid": 1})
    assert latest_state(run) == "running"
    run.write_log("20260106T000000-d", {"state": "running", **here, "pid_namespace": "of a container on this host"})
    assert latest_state(run) == "running"
    run.write_log("20260106T000000-d", {"state": "running", "began": "2026-01-06", **here, "pid": os.getpid()})
    assert latest_state(run) == "running"


def test_a_receipt_of_a_newer_version_is_read_and_a_damaged_one_is_named(run, monkeypatch):
    def commit(text):
        monkeypatch.setattr(Receipt, "to_json", lambda receipt: text)
        storage.remove(run.masks_uri("u"))
        with UnitWriter(run.masks_uri("u"), Receipt("u", "f")) as writer:
            writer.write(rows_of("a", "0", 3))
            writer.commit()

    text = Receipt("u", "f", pairs=1).to_json()
    commit(text[:-1] + ', "colour": "red"}')
    assert read_receipt(run.masks_uri("u")).pairs == 1
    odd = [text[:-1].replace('"otherwise": {}', f'"otherwise": {value}') + "}" for value in ('"x"', '{"x": 5}')]
    for damaged in ("[]", "{", '{"unit_id": "u"}', *odd):
        commit(damaged)
        with pytest.raises(InfrastructureError, match="its receipt is damaged"):
            read_receipt(run.masks_uri("u"))


def test_logs_are_kept(run):
    run.write_log("1", {"pairs": 3})
    assert json.loads(storage.read_bytes(storage.join(run.folder, "log", "1.json"))) == {"pairs": 3}


def at(uri: str) -> pa.Table:
    rows = [{"video_id": v, "video_uri": uri.format(v), "expression_id": "0", "expression": "x"} for v in "ab"]
    return pa.Table.from_pylist(rows)


def note_moved(run: Run, rows: pa.Table) -> None:
    note_moved_videos(run.folder, run.planned_uris(), rows, rows)


def test_fresh_signatures_are_no_change_and_are_used(run):
    options = PlanOptions()
    run.extend_plan(at("https://h/{}.mp4?sig=1"), "m", options)
    run.extend_plan(at("https://h/{}.mp4?sig=2"), "m", options)
    note_moved(run, at("https://h/{}.mp4?sig=2"))
    assert run.parts() == [0]
    assert run.manifest()["video_uri"].to_pylist() == ["https://h/a.mp4?sig=2", "https://h/b.mp4?sig=2"]
    with pytest.raises(InputError, match="2 planned rows changed"):
        run.extend_plan(at("https://other/{}.mp4?sig=2"), "m", options)
    note_moved(run, at("https://h/{}.mp4?sig=1"))
    assert moved_videos(run.folder) == {}


def test_a_corpus_on_another_mount(run):
    planned, moved = at("/old/{}?.mp4"), at("/new/{}?.mp4")
    assert rebased(planned, "/old/", "/new/").equals(moved)
    assert rebased(planned, "/other/", "/new/").equals(planned)
    run.extend_plan(planned, "m", PlanOptions())
    with pytest.raises(InputError, match="--rebase OLD=NEW"):
        run.extend_plan(moved, "m", PlanOptions())
    run.extend_plan(rebased(moved, "/new/", "/old/"), "m", PlanOptions())
    note_moved(run, moved)
    assert run.manifest()["video_uri"].to_pylist() == ["/new/a?.mp4", "/new/b?.mp4"]
    assert with_planned_uris(moved, run.folder, run.planned_uris())["video_uri"].to_pylist() == [
        "/old/a?.mp4",
        "/old/b?.mp4",
    ]
    audit = Audit()
    compare_with_manifest(audit, run, moved)
    assert audit.clean


def test_uris_are_noted_before_the_plan_grows(run):
    """A command that is killed between the two would not compare the same manifest again."""
    run.extend_plan(at("https://h/{}.mp4?sig=1"), "m", PlanOptions())
    more = pa.concat_tables([at("https://h/{}.mp4?sig=2"), at("https://h/more-{}.mp4")])
    more = more.set_column(0, "video_id", pa.array(["a", "b", "c", "d"]))
    seen = []

    def accepted() -> None:
        note_moved(run, more)
        seen.append(run.parts())

    run.extend_plan(more, "m", PlanOptions(), manifest_digest="more", accepted=accepted)
    assert (seen, run.parts()) == ([[0]], [0, 1])
    assert moved_videos(run.folder) == {name: f"https://h/{name}.mp4?sig=2" for name in "ab"}
    with pytest.raises(InputError, match="planned rows changed"):
        run.extend_plan(at("https://other/{}.mp4"), "m", PlanOptions(), accepted=accepted)
    assert len(seen) == 1


def damage_plan(run: Run, change) -> None:
    """Replace part 0 of the plan by `change` of its table."""
    table = run.read_part(0)
    storage.remove(run.part_uri(0))
    parquet.write_table(run.part_uri(0), change(table))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda table: pa.concat_tables([table, table.slice(0, 1)]), "is in part 0 and again in part 0"),
        (lambda table: table.drop_columns(["unit_id"]), "part 0 has no column unit_id"),
        (lambda table: table.drop_columns(["expression"]), "part 0 has no column expression"),
        (
            lambda table: table.set_column(2, "pair_frames", table["pair_frames"].cast(pa.string())),
            "column pair_frames of part 0 has the type string",
        ),
    ],
)
def test_a_damaged_plan_is_no_plan(run, change, problem):
    extend(run, [("a", "0"), ("b", "0"), ("c", "0")])
    damage_plan(run, change)
    with pytest.raises(InputError, match=rf"the plan of .* is damaged: .*{problem}"):
        run.units()


def test_a_part_of_the_plan_under_two_numbers_is_found(run):
    extend(run, [("a", "0"), ("b", "0")])
    storage.write_bytes(run.part_uri(1), storage.read_bytes(run.part_uri(0)))
    with pytest.raises(InputError, match="is in part 0 and again in part 1"):
        run.units()
    with pytest.raises(InputError, match="video_id=. expression_id=0 is planned twice"):
        run.manifest()


def test_a_file_that_is_no_part_of_the_plan_is_ignored(run):
    extend(run, [("a", "0"), ("b", "0")])
    for name in ("copy", "00", "1 ", "-1"):
        storage.write_bytes(run.part_uri(0).replace("/0.parquet", f"/{name}.parquet"), b"")
    assert run.parts() == [0]


@pytest.mark.parametrize("when", ["open", "keep"])
def test_a_disk_that_is_full_before_the_first_row_is_named(tmp_path, monkeypatch, when):
    uri = str(tmp_path / "u.parquet")
    with UnitWriter(uri, Receipt("u", "f")) as writer:
        writer.write(rows_of("v", "0", 2))
        writer.commit()
    replaced = ReplacedObject.read(uri, ["missing"])

    def fail(*_, **__):
        raise OSError(errno.ENOSPC, "Error writing bytes to file")

    if when == "open":
        monkeypatch.setattr(commit.pq, "ParquetWriter", fail)
    else:
        monkeypatch.setattr(UnitWriter, "_write", fail)
    with (
        pytest.raises(StorageError, match="cannot write to .*free some space"),
        UnitWriter(uri, Receipt("u", "f"), replaced),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["u.parquet"]


def test_nothing_is_written_below_a_missing_mount(tmp_path):
    """Neither the log nor receipts: of a driver whose host loses the mount."""
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    (tmp_path / "run").rename(tmp_path / "mounted")
    (tmp_path / "run").mkdir()
    receipt = Receipt("0" * 20, "f", version="1")
    with pytest.raises(StorageError, match="has no run.json on host .* its mount is missing"):
        run.write_log("1", {})
    with pytest.raises(StorageError, match="its mount is missing"), ReceiptNotes(run, "1") as notes:
        notes.add(receipt)
    with pytest.raises(KeyError), ReceiptNotes(run, "1") as notes:  # the first error is told
        notes.add(receipt)
        raise KeyError
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"PAR1 cut off"])
def test_what_to_do_about_a_damaged_plan_part_is_said_and_helps(tmp_path, content):
    """The last part is planned again from the same manifest, with the same units."""
    run, first = Run.start(str(tmp_path / "run"), "f", {}, {}), manifest([("v", "0"), ("v", "1"), ("w", "0")])
    whole = manifest([("v", "0"), ("v", "1"), ("w", "0"), ("x", "0")])
    run.extend_plan(first, "m", PlanOptions(unit_frames=10))
    run.extend_plan(whole, "m", PlanOptions(unit_frames=10))
    units, parts = run.units(), [Path(run.part_uri(part)) for part in range(2)]
    for part, advice in ((0, "restore it, or choose another run folder"), (1, "or remove it and repeat the command")):
        kept = parts[part].read_bytes()
        parts[part].write_bytes(content)
        for read in (run.units, run.manifest):
            with pytest.raises(InputError, match=f"{part}.parquet is not a Parquet file: .*{advice}"):
                read()
        assert any(advice in text for text in audit_run(run).listed["unreadable"])
        if part:
            parts[part].unlink()
            run.extend_plan(whole, "m", PlanOptions(unit_frames=10))
        else:
            parts[part].write_bytes(kept)
    assert run.units() == units
    parts[0].unlink()
    Path(run.folder, "run.json").write_bytes(b"{")
    with pytest.raises(InputError, match="run.json: .*; restore it, or segment into a new folder"):
        Run.open(run.folder)


def test_a_mount_that_fails_under_an_audit_is_no_damage_of_the_plan(tmp_path, monkeypatch):
    run = Run.start(str(tmp_path / "run"), "f", {}, {})
    run.extend_plan(manifest([("v", "0")]), "m", PlanOptions())

    def fail(path: str) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(audit.checksum, "is_sealed", fail)
    with pytest.raises(StorageError, match="plan/0.parquet: cannot read on host .*: Input/output error"):
        audit_run(run)
