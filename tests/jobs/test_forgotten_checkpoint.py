"""Nobody runs the toy over a corpus by mistake."""

from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs import segment
from jobs.config.plan import PlanConfig
from jobs.config.segment import SegmentConfig
from jobs.terminal.command_line import canonical_command
from pipeline.datasets.synthetic.shapes import write_rows
from schemas.errors import InputError
from schemas.manifest import MANIFEST

MISSING = "--checkpoint is missing.*--checkpoint tiny"
ELSEWHERE = [
    {"manifest": "m.parquet", "run": "r", "address": "auto"},
    {"manifest": "s3://b/m.parquet", "run": "r"},
    {"manifest": "https://host/m.parquet", "run": "r"},
    {"manifest": "m.parquet", "run": "s3://b/r"},
    {"manifest": "m.parquet", "run": "r", "new_run": "s3://b/r"},
]


@pytest.mark.parametrize("options", ELSEWHERE)
def test_without_a_checkpoint_only_local_things_are_segmented(options):
    with pytest.raises(InputError, match=MISSING):
        SegmentConfig(**options)
    assert SegmentConfig(**options, checkpoint="tiny").is_bundled


def test_a_plan_of_a_remote_manifest_needs_it_too():
    with pytest.raises(InputError, match=MISSING):
        PlanConfig(manifest="s3://b/m.parquet")


@pytest.mark.parametrize("uri", ["s3://b/v.mp4", "https://host/v.mp4", "tar://v.mp4::gs://b/shard.tar"])
def test_a_local_manifest_of_remote_videos_needs_it_too(uri, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).slice(0, 2).to_pylist()
    rows[1] |= {"video_id": "far", "video_uri": uri}
    rows[0]["video_uri"] = str(Path(shapes[0]).parent / rows[0]["video_uri"])
    manifest, run = write_rows(str(tmp_path / "manifest.parquet"), rows, MANIFEST), str(tmp_path / "run")
    for words in (["segment", manifest, run], ["segment", manifest, run, "--dry-run"], ["plan", manifest]):
        answer = CliRunner().invoke(main, words)
        assert (answer.exit_code, answer.output.count("\n")) == (2, 1), answer.output
        assert answer.output.startswith("Error: --checkpoint is missing")
        assert answer.output.endswith(f"are remote, such as {uri}\n")
    assert not Path(run).exists()
    dry = CliRunner().invoke(main, ["segment", manifest, run, "--dry-run", "--checkpoint", "tiny"])
    assert dry.exit_code == 0, dry.output


def test_a_job_without_it_is_not_sent():
    for words in (["segment", "s3://b/m.parquet", "s3://b/r"], ["plan", "/mnt/m.parquet"]):
        with pytest.raises(click.UsageError, match=MISSING):
            canonical_command(main, words)
    assert canonical_command(main, ["segment", "s3://b/m.parquet", "s3://b/r", "--checkpoint", "tiny"])


def test_other_options_that_the_job_would_refuse_are_not_sent():
    words = ["segment", "s3://b/m.parquet", "s3://b/r", "--checkpoint", "tiny", "--threshold", "2"]
    with pytest.raises(click.UsageError, match="--threshold must be between 0 and 1"):
        canonical_command(main, words)


def test_a_local_run_says_it_first(shapes, tmp_path):
    answer = CliRunner().invoke(main, ["segment", shapes[0], str(tmp_path / "run"), "--dry-run"])
    assert answer.exit_code == 0
    assert answer.output.splitlines()[0].startswith("no --checkpoint is given")
    assert answer.output.count("no --checkpoint") == 1
    said = CliRunner().invoke(main, ["segment", shapes[0], str(tmp_path / "run"), "--dry-run", "--checkpoint", "tiny"])
    assert "--checkpoint" not in said.output


def test_on_a_run_of_another_model_it_is_asked_for(shapes, checkpoint, tmp_path):
    run = str(tmp_path / "run")
    segment.prepare(SegmentConfig(manifest=shapes[0], run=run, checkpoint=checkpoint, short_side=64))
    with pytest.raises(InputError, match="Did you forget --checkpoint") as caught:
        segment.prepare(SegmentConfig(manifest=shapes[0], run=run, short_side=64))
    assert max(map(len, str(caught.value).split())) < 64 + len(run)
