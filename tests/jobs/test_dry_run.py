"""`rvos segment --dry-run`: the counts and refusals of a start, and not one byte written."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import main
from jobs import dry_run, segment
from jobs.segment import SegmentConfig
from pipeline.io import storage
from pipeline.runs.run import Run
from schemas.errors import InputError


def config(shapes, checkpoint, folder, **options) -> SegmentConfig:
    return SegmentConfig(
        manifest=shapes[0], run=str(folder), checkpoint=checkpoint, unit_frames=36, dry_run=True, **options
    )


def test_a_new_run_is_counted_and_not_made(shapes, checkpoint, tmp_path):
    result = dry_run.run(config(shapes, checkpoint, tmp_path / "run"))
    assert (result.exists, result.pairs, result.units, result.frames) == (False, 9, 3, 108)
    assert "would be new" in result.text()
    assert not (tmp_path / "run").exists()


def test_only_what_is_not_committed_counts(shapes, checkpoint, tmp_path):
    folder = tmp_path / "run"
    real = SegmentConfig(manifest=shapes[0], run=str(folder), checkpoint=checkpoint, unit_frames=36, limit=6)
    the_run = segment.prepare(real)[0]
    first = the_run.units()[0]
    storage.write_bytes(the_run.masks_uri(first.unit_id), b"committed")
    before = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}
    result = dry_run.run(config(shapes, checkpoint, folder))
    assert (result.exists, result.committed_units) == (True, 1)
    assert (result.pairs, result.units, result.frames) == (6, 2, 72)
    assert {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")} == before
    assert len(Run.open(str(folder)).parts()) == 1


def test_it_refuses_what_a_start_refuses(shapes, checkpoint, tmp_path):
    folder = tmp_path / "run"
    segment.prepare(SegmentConfig(manifest=shapes[0], run=str(folder), checkpoint=checkpoint))
    with pytest.raises(InputError, match="threshold: 0.5, now 0.4"):
        dry_run.run(config(shapes, checkpoint, folder, threshold=0.4))
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").touch()
    with pytest.raises(InputError, match="not empty and has no run.json"):
        dry_run.run(config(shapes, checkpoint, tmp_path / "else"))


def test_the_command_line(shapes, checkpoint, tmp_path):
    words = ["segment", shapes[0], str(tmp_path / "run"), "--checkpoint", checkpoint, "--dry-run"]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pairs"] == 9
    assert "nothing was written" in CliRunner().invoke(main, words).output
