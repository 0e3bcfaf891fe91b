"""`rvos segment` on a run that is there: grown and moved manifests, bad rows, and failed pairs that are retried."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import audit, segment
from pipeline.io import storage
from pipeline.runs.receipts import receipts_of
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json
from pipeline.segment import turns
from schemas.errors import InputError
from tests.segmented import masks, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def test_a_grown_manifest_is_added_to(shapes, checkpoint, tmp_path):
    rows = pq.read_table(shapes[0]).to_pylist()
    for row in rows:
        row["video_uri"] = storage.absolute(row["video_uri"], storage.parent(shapes[0]))
    manifest = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_pylist(rows[:2]), manifest)
    run(manifest, tmp_path / "run", checkpoint)
    pq.write_table(pa.Table.from_pylist(rows[:3]), manifest)
    result = run(manifest, tmp_path / "run", checkpoint)
    assert (result.pairs, result.there_before) == (3, 2)
    pq.write_table(pa.Table.from_pylist(rows[1:3]), manifest)
    with pytest.raises(InputError, match="1 planned row removed"):
        run(manifest, tmp_path / "run", checkpoint)


def prepared(shapes, checkpoint, tmp_path, invocation="one", **options):
    """The units of the run, and those to do in their order."""
    config = segment.SegmentConfig(
        manifest=shapes[0], run=str(tmp_path / "run"), checkpoint=checkpoint, unit_frames=12, **options
    )
    return segment.prepare(config, invocation)[1:3]


@pytest.mark.parametrize(("lost", "turns_then"), [(0, [0]), (1, [1]), (2, [2])])
def test_units_of_killed_commands_wait_for_no_actors_in_vain(
    shapes, checkpoint, tmp_path, monkeypatch, lost, turns_then
):
    """Each turn starts its own actors, which load the model."""
    units, _ = prepared(shapes, checkpoint, tmp_path, short_side=64, window="5")
    for unit in units:
        for number in range(lost):
            marker = {"invocation": "killed", "node": "gone", "host": "another", "pid": 1}
            uri = storage.join(str(tmp_path / "run"), "attempts", unit.unit_id, f"{number}.json")
            storage.write_bytes(uri, json.dumps(marker).encode())
    begun, in_turn = [], turns._segment_in_turn

    def note(of_turn, *arguments):
        begun.append({unit.turn for unit in of_turn})
        return in_turn(of_turn, *arguments)

    monkeypatch.setattr(turns, "_segment_in_turn", note)
    assert run(shapes[0], tmp_path / "run", checkpoint, unit_frames=12).exit_code == 0
    assert begun == [{turn} for turn in turns_then]


def test_a_lower_limit_takes_no_planned_pairs_out(shapes, checkpoint, tmp_path, capsys):
    for limit in (6, 6, None):
        prepared(shapes, checkpoint, tmp_path, limit=limit)
        assert capsys.readouterr().err == ""
    _, todo = prepared(shapes, checkpoint, tmp_path, limit=6)
    assert capsys.readouterr().err == "9 pairs are planned already, all of them are segmented: --limit 6 is lower\n"
    assert sum(unit.stop - unit.start for unit in todo) == 9


def test_two_commands_take_units_in_different_orders(shapes, checkpoint, tmp_path):
    """Both begin with the unit that decides about fast modes, and with longer units."""
    units, first = prepared(shapes, checkpoint, tmp_path, "0")
    assert prepared(shapes, checkpoint, tmp_path, "0")[1] == first
    orders = [prepared(shapes, checkpoint, tmp_path, str(number))[1] for number in range(8)]
    assert any(order != first for order in orders)
    for order in orders:
        assert {unit.unit_id for unit in order} == {unit.unit_id for unit in units}
        assert (order[0].unit_id, order[0].decides) == (units[0].unit_id, True)
        lengths = [unit.pair_frames.bit_length() for unit in order[1:]]
        assert lengths == sorted(lengths, reverse=True)


def test_bad_rows_become_error_rows_and_cost_nothing_else(shapes, checkpoint, tmp_path):
    video = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    rows = [
        {"video_id": "good", "video_uri": video, "expression_id": "0", "expression": "the circle"},
        {"video_id": "good", "video_uri": video, "expression_id": "1", "expression": ""},
        {"video_id": "good", "video_uri": video, "expression_id": "2", "expression": "long " * 600},
        {"video_id": "broken", "video_uri": "broken.mp4", "expression_id": "0", "expression": "a"},
        {"video_id": "absent", "video_uri": "absent.mp4", "expression_id": "0", "expression": "a"},
    ]
    manifest = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    result = run(manifest, tmp_path / "run", checkpoint)
    assert result.failed == {"bad_row": 2, "corrupt": 1, "missing": 1}
    assert result.exit_code == 1
    table = masks(tmp_path / "run")
    failed = {(row["video_id"], row["expression_id"]): row for row in table.to_pylist() if row["status"] != "ok"}
    assert len(failed) == 4
    assert failed["broken", "0"]["error"].startswith("video_id=broken expression_id=0: ")
    assert table.filter(pa.compute.field("status") == "ok").num_rows == 12
    with pytest.raises(InputError) as refused:
        run(manifest, tmp_path / "strict", checkpoint, strict=True)
    places = [f"m.parquet row {row} (counted from 1)" for row in (2, 3)]
    assert places[0] in str(refused.value)
    assert f"{places[1]}: expression_id=2: the expression has 3002 tokens, at most 512 fit" in str(refused.value)
    assert "broken.mp4" in str(refused.value)
    assert "absent.mp4" in str(refused.value)
    assert not (tmp_path / "strict").exists()


@pytest.fixture(params=["local", pytest.param("s3", marks=[pytest.mark.s3, pytest.mark.slow])])
def place(request, tmp_path) -> str:
    """A folder for a run, and whatever else."""
    return str(tmp_path) if request.param == "local" else f"{request.getfixturevalue('s3')}/{tmp_path.name}"


def test_failed_pairs_are_done_again_when_asked(shapes, checkpoint, tmp_path, place):
    video = Path(storage.parent(shapes[0]), pq.read_table(shapes[0])["video_uri"][0].as_py()).read_bytes()
    good, late = storage.join(place, "good.mp4"), storage.join(place, "late.mp4")
    storage.write_bytes(good, video)
    storage.write_bytes(late, b"not a video yet")
    rows = [
        {"video_id": "good", "video_uri": good, "expression_id": "0", "expression": "the circle"},
        {"video_id": "late", "video_uri": late, "expression_id": "0", "expression": "the circle"},
        {"video_id": "late", "video_uri": late, "expression_id": "1", "expression": ""},
    ]
    manifest, folder = tmp_path / "m.parquet", storage.join(place, "run")
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    assert run(manifest, folder, checkpoint, unit_frames=1000).failed == {"corrupt": 1, "bad_row": 1}
    before = masks(folder)
    assert audit.run(audit.AuditConfig(run=folder)).exit_code == 0
    storage.write_bytes(late, video)
    result = run(manifest, folder, checkpoint, unit_frames=1000)
    assert (result.failed, result.frames, result.there_before) == ({"corrupt": 1, "bad_row": 1}, 0, 3)

    assert run(manifest, folder, checkpoint, retry_errors="oom,crash").frames == 0
    result = run(manifest, folder, checkpoint, retry_errors="corrupt")
    assert (result.failed, result.frames, result.there_before) == ({"bad_row": 1}, 12, 2)
    after = masks(folder)
    assert not storage.exists(storage.join(folder, "_SUCCESS"))
    assert audit.run(audit.AuditConfig(run=folder)).exit_code == 0
    untouched = pa.compute.equal(before["video_id"], "good")
    assert after.filter(pa.compute.equal(after["video_id"], "good")).equals(before.filter(untouched))
    assert after.filter(pa.compute.equal(after["status"], "ok")).num_rows == 24
    result = run(manifest, folder, checkpoint, retry_errors="all")
    assert (result.failed, result.frames) == ({"bad_row": 1}, 0)
    (receipt,) = receipts_of(Run.open(folder), Run.open(folder).committed())
    assert receipt.generation == 2


def test_a_corpus_that_moved_is_read_from_where_it_is_now(shapes, checkpoint, tmp_path):
    old, new, folder = tmp_path / "old", tmp_path / "new", tmp_path / "run"
    shutil.copytree(Path(shapes[0]).parent, old)
    manifest = Path(shapes[0]).name
    damaged = Path(pq.read_table(shapes[0])["video_uri"][0].as_py())
    content = (old / damaged).read_bytes()
    (old / damaged).write_bytes(b"not a video yet")
    assert run(old / manifest, folder, checkpoint).failed == {"corrupt": 3}
    old.rename(new)
    (new / damaged).write_bytes(content)
    with pytest.raises(InputError, match="--rebase OLD=NEW"):
        run(new / manifest, folder, checkpoint)
    result = run(new / manifest, folder, checkpoint, rebase=(f"{old}={new}",), retry_errors="corrupt")
    assert (result.failed, result.pairs, result.there_before) == ({}, 9, 6)
    assert audit.run(audit.AuditConfig(run=str(folder), manifest=str(new / manifest))).exit_code == 0
    assert run(new / manifest, folder, checkpoint, rebase=(f"{old}={new}",)).there_before == 9


def test_a_manifest_may_still_say_where_the_videos_were(shapes, checkpoint, tmp_path):
    table = pq.read_table(shapes[0])
    videos, new, folder, manifest = tmp_path / "old", tmp_path / "new", tmp_path / "run", tmp_path / "m.parquet"
    shutil.copytree(Path(shapes[0]).parent, videos)
    uris = pa.array([str(videos / uri) for uri in table["video_uri"].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index("video_uri"), "video_uri", uris), manifest)
    videos.rename(new)
    assert run(manifest, folder, checkpoint).failed == {"missing": 9}
    again = {"retry_errors": "all", "rebase": (f"{videos}={new}",)}
    assert run(manifest, folder, checkpoint, **again).failed == {}
    assert run(manifest, folder, checkpoint).there_before == 9
    planned = Run.open(str(folder)).manifest()["video_uri"].to_pylist()
    assert all(uri.startswith(str(new)) for uri in planned)


def test_an_unchanged_manifest_is_not_compared_again(shapes, checkpoint, tmp_path, monkeypatch):
    run(shapes[0], tmp_path / "run", checkpoint)
    monkeypatch.setattr(segment, "read_manifest", None)
    assert run(shapes[0], tmp_path / "run", checkpoint).there_before == 9


def test_failed_pairs_are_done_again_with_other_options(shapes, checkpoint, tmp_path, place):
    """What an error row advises is done, for the failed pairs alone, and is recorded."""
    video = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    pair = {"video_id": "v", "video_uri": video, "expression": "the circle"}
    rows = [
        pair | {"expression_id": "0", "frame_indices": [0, 1]},
        pair | {"expression_id": "1", "frame_indices": None},
        pair | {"expression_id": "2", "frame_indices": [0], "expression": ""},
    ]
    manifest, folder, whole = tmp_path / "m.parquet", storage.join(place, "run"), {"window": "whole"}
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    whole |= {"max_whole_frames": 5}
    first = run(manifest, folder, checkpoint, **whole)
    assert first.failed == {"bad_row": 2}
    assert any("use --retry-errors with a higher --max-whole-frames" in error for error in first.errors)
    before = masks(folder)
    with pytest.raises(InputError, match="threshold: 0.5, now 0.4"):
        run(manifest, folder, checkpoint, retry_errors="all", threshold=0.4)
    with pytest.raises(InputError, match="window: 'whole', now '5'"):
        run(manifest, folder, checkpoint)
    with pytest.raises(InputError, match="repair the run first"):
        run(manifest, folder, checkpoint, retry_errors="bad_row", window="4", repair=True)
    result = run(manifest, folder, checkpoint, retry_errors="bad_row", window="4", decoder="decord")
    assert (result.failed, result.frames) == ({"bad_row": 1}, 12)
    for again in ({}, {"retry_errors": "bad_row"}):  # what was made otherwise is kept as such
        assert run(manifest, folder, checkpoint, **whole, **again).failed == {"bad_row": 1}
        (receipt,) = receipts_of(Run.open(folder), Run.open(folder).committed())
        assert receipt.otherwise == {"decoder=decord, window=4": [["v", "1"]]}
        assert receipt.fingerprint == Run.open(folder).fingerprint
    found = audit.run(audit.AuditConfig(run=folder))
    assert found.exit_code == 0, found.text()
    assert "pairs made with other options than the run: 1 with decoder=decord, window=4" in found.text()
    assert read_run_json(folder)["retried_with"] == ["decoder=decord, window=4"]
    assert masks(folder).slice(0, 2).equals(before.slice(0, 2))


def test_other_options_wait_until_all_units_are_there(shapes, checkpoint, tmp_path):
    run(shapes[0], tmp_path / "run", checkpoint)
    the_run = Run.open(str(tmp_path / "run"))
    storage.remove(the_run.masks_uri(the_run.units()[0].unit_id))
    with pytest.raises(InputError, match=r"lacks 1 unit, and only failed pairs .*decoder=decord"):
        run(shapes[0], tmp_path / "run", checkpoint, retry_errors="all", decoder="decord")
    assert "retried_with" not in read_run_json(the_run.folder)


def test_a_corrected_uri_is_accepted_for_videos_without_masks(shapes, checkpoint, tmp_path):
    video = storage.absolute(pq.read_table(shapes[0])["video_uri"][0].as_py(), storage.parent(shapes[0]))
    shutil.copy(video, tmp_path / "other.mp4")
    rows = [
        {"video_id": name, "video_uri": uri, "expression_id": "0", "expression": "the circle"}
        for name, uri in (("good", video), ("typo", f"{video}x"))
    ]
    manifest, folder = str(tmp_path / "m.parquet"), str(tmp_path / "run")
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    assert run(manifest, folder, checkpoint, unit_frames=1000).failed == {"missing": 1}
    rows[1]["video_uri"] = video
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    with pytest.raises(InputError, match="1 planned row changed"):
        run(manifest, folder, checkpoint)
    with pytest.raises(InputError, match="1 planned row changed"):
        run(manifest, folder, checkpoint, retry_errors="corrupt")
    result = run(manifest, folder, checkpoint, retry_errors="missing")
    assert (result.failed, result.frames, result.there_before) == ({}, 12, 1)
    assert run(manifest, folder, checkpoint).there_before == 2
    assert audit.run(audit.AuditConfig(run=folder, manifest=manifest)).exit_code == 0
    rows[0]["video_uri"] = str(tmp_path / "other.mp4")
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    with pytest.raises(InputError, match="1 planned row changed"):
        run(manifest, folder, checkpoint, retry_errors="all")


def test_corrected_columns_that_the_run_does_not_use_are_named(shapes, checkpoint, tmp_path, capsys):
    table = pq.read_table(shapes[0])
    uris = [storage.absolute(uri, storage.parent(shapes[0])) for uri in table["video_uri"].to_pylist()]
    table = table.set_column(table.column_names.index("video_uri"), "video_uri", pa.array(uris))
    manifest = str(tmp_path / "m.parquet")
    pq.write_table(table, manifest)
    run(manifest, tmp_path / "run", checkpoint)
    capsys.readouterr()
    ids = pa.array([["other"]] * len(table))
    table = table.set_column(table.column_names.index("object_ids"), "object_ids", ids)
    pq.write_table(table.append_column("weather", pa.array(["rain"] * len(table))), manifest)
    assert run(manifest, tmp_path / "run", checkpoint).there_before == len(table)
    assert "object_ids, weather: planned rows have other values" in capsys.readouterr().err
