"""`rvos segment --shard I/N`: commands that know nothing of each other complete one run."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs import audit, dry_run, segment, status
from jobs.segment import SegmentConfig
from pipeline.io import storage
from pipeline.runs.run import Run
from schemas.errors import InputError
from tests.segmented import UNIT_FRAMES, masks, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


@pytest.fixture(scope="module")
def with_missing_video(shapes, tmp_path_factory) -> str:
    """A manifest of three units; the file of the first video does not exist."""
    rows = pq.read_table(shapes[0])
    uris = [storage.absolute(uri, storage.parent(shapes[0])) for uri in rows["video_uri"].to_pylist()]
    uris[:3] = ["/absent.mp4"] * 3
    path = str(tmp_path_factory.mktemp("missing") / "m.parquet")
    pq.write_table(rows.set_column(rows.column_names.index("video_uri"), "video_uri", [uris]), path)
    return path


@pytest.fixture(scope="module")
def finished(with_missing_video, checkpoint, tmp_path_factory) -> str:
    """A finished run of it, made without shards."""
    folder = str(tmp_path_factory.mktemp("finished") / "run")
    run(with_missing_video, folder, checkpoint)
    return folder


@pytest.fixture
def folder(finished, tmp_path) -> str:
    return shutil.copytree(finished, tmp_path / "run")


def state(folder) -> tuple[str, int, int]:
    found = status.run(status.StatusConfig(run=str(folder)))
    return found.state, found.units_done, found.units


def test_two_shards_complete_a_run(shapes, checkpoint, tmp_path):
    folder = tmp_path / "run"
    second = run(shapes[0], folder, checkpoint, shard="2/2")
    assert (second.pairs, second.there_before, second.exit_code) == (3, 0, 0)
    assert (second.shard.run_pairs, second.shard.left_pairs, second.shard.left_units) == (9, 6, 2)
    assert "shard   2/2: 3 of the 9 pairs of the run; open in other shards: 6 pairs in 2 units" in second.text()
    assert state(folder)[1:] == (1, 3)
    between = audit.run(audit.AuditConfig(run=str(folder)))
    assert (between.exit_code, between.audit.counts) == (1, {"missing": 6})
    first = run(shapes[0], folder, checkpoint, shard="1/2")
    assert (first.pairs, first.there_before, first.shard.left_units) == (6, 0, 0)
    assert f"the run is complete: 'rvos audit {folder}' checks it" in first.text()
    assert state(folder) == ("done", 3, 3)
    assert audit.run(audit.AuditConfig(run=str(folder), manifest=shapes[0])).exit_code == 0
    assert state(folder) == ("audited", 3, 3)
    again = run(shapes[0], folder, checkpoint, shard="2/2")
    assert (again.there_before, again.frames) == (3, 0)
    assert state(folder) == ("audited", 3, 3)
    assert masks(folder).num_rows == 9 * 12


def test_what_each_shard_has_to_do(shapes, checkpoint, tmp_path):
    def prepare(**options):
        config = SegmentConfig(
            manifest=shapes[0], run=str(tmp_path), checkpoint=checkpoint, unit_frames=UNIT_FRAMES, **options
        )
        the_run, units, todo, _ = segment.prepare(config, "x")
        assert {unit.unit_id for unit in todo} == {unit.unit_id for unit in units}
        return the_run.units(), units

    for limit in (3, None):  # the second makes the plan longer
        everything = prepare(limit=limit)[0]
        shares = [prepare(limit=limit, shard=f"{number}/4")[1] for number in (1, 2, 3, 4)]
        assert [unit for share in shares for unit in share] == everything
    assert (len(everything), len(shares[3])) == (3, 0)


def test_the_exit_code_is_about_the_shard(with_missing_video, checkpoint, folder):
    third = Run.open(str(folder)).units()[2]
    storage.remove(Run.open(str(folder)).masks_uri(third.unit_id))
    words = ["segment", with_missing_video, str(folder), "--checkpoint", checkpoint, "--json"]
    words += ["--short-side", "64", "--window", "5"]
    ends = [CliRunner().invoke(main, [*words, "--shard", f"{number}/3"]) for number in (1, 2)]
    results = [json.loads(each.stdout) for each in ends]
    assert [each["failed"] for each in results] == [{"missing": 3}, {}]
    assert [each.exit_code for each in ends] == [1, 0]
    assert results[1]["shard"] == {"name": "2/3", "run_pairs": 9, "left_pairs": 3, "left_units": 1}


def test_a_plain_command_does_what_shards_have_left(with_missing_video, checkpoint, folder):
    the_run = Run.open(str(folder))
    storage.remove(the_run.masks_uri(the_run.units()[2].unit_id))
    result = run(with_missing_video, folder, checkpoint)
    assert (result.pairs, result.there_before, result.shard) == (9, 6, None)
    assert "shard" not in result.to_json()


def test_attempts_of_other_shards_are_left_alone(with_missing_video, checkpoint, folder):
    the_run = Run.open(str(folder))
    first, second, _ = the_run.units()
    storage.remove(the_run.masks_uri(first.unit_id))
    for name in (first.unit_id, second.unit_id, "_start"):
        storage.write_bytes(
            storage.join(str(folder), "attempts", name, "a1.json"), b'{"invocation": "", "node": "", "host": "another"}'
        )
    run(with_missing_video, folder, checkpoint, shard="2/3")
    assert storage.names(storage.join(str(folder), "attempts")) == sorted([first.unit_id, "_start"])


def test_retries_and_repairs_stay_in_the_shard(with_missing_video, checkpoint, folder):
    def todo(**options):
        return segment.prepare(
            SegmentConfig(
                manifest=with_missing_video,
                run=str(folder),
                checkpoint=checkpoint,
                short_side=64,
                window="5",
                **options,
            )
        )[2]

    the_run = Run.open(str(folder))
    storage.write_bytes(the_run.masks_uri(the_run.units()[2].unit_id), b"damaged")
    assert [len(todo(repair=True, shard=f"{number}/3")) for number in (1, 2, 3)] == [0, 0, 1]
    assert [len(todo(retry_errors="all", shard=f"{number}/3")) for number in (1, 2)] == [1, 0]
    with pytest.raises(InputError, match="--repair"):
        todo(retry_errors="all", shard="3/3")


def test_another_run_is_refused(with_missing_video, checkpoint, folder):
    with pytest.raises(InputError, match=r"created with different options \(threshold: 0.5, now 0.4\)"):
        run(with_missing_video, folder, checkpoint, shard="2/3", threshold=0.4)


def test_a_dry_run_counts_the_shard(shapes, checkpoint, tmp_path):
    def count(**options):
        config = SegmentConfig(manifest=shapes[0], run=str(tmp_path / "run"), checkpoint=checkpoint, **options)
        found = dry_run.run(config)
        return found.pairs, found.units, found.frames

    assert count(unit_frames=36, shard="1/2") == (6, 2, 72)
    assert count(unit_frames=36, shard="2/2") == (3, 1, 36)
    assert count(unit_frames=36, shard="4/4") == (0, 0, 0)


@pytest.mark.parametrize("text", ["0/4", "5/4"])
def test_a_shard_that_does_not_exist_is_a_wrong_option(tmp_path, text):
    result = CliRunner().invoke(main, ["segment", "m.parquet", str(tmp_path / "run"), "--shard", text])
    assert result.exit_code == 2
    assert f"--shard must be I/N with I from 1 to N, as in 1/4 and 4/4, got '{text}'" in result.stderr


def test_the_run_does_not_record_who_made_it_first(shapes, checkpoint, tmp_path):
    config = SegmentConfig(manifest=shapes[0], run=str(tmp_path), checkpoint=checkpoint, shard="2/3", on_finish="true")
    segment.prepare(config)
    assert {"shard", "on_finish"}.isdisjoint(json.loads((tmp_path / "run.json").read_text())["config"])
