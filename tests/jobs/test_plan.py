"""The estimate: counted, measured and stated numbers; nothing is invented or written."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner

from cli import main
from jobs import plan
from jobs.config.plan import PlanConfig
from pipeline.io import storage
from schemas.errors import InputError
from tests.tiny_sam import write_sam2


@pytest.fixture(scope="module")
def small(shapes, checkpoint):
    return {"manifest": shapes[0], "checkpoint": checkpoint, "short_side": 64, "window": "5"}


@pytest.fixture(scope="module")
def measured(small):
    return plan.run(plan.PlanConfig(**small, gpu="A10G", price=2.0))


def test_the_whole_is_counted(measured):
    extent = measured.extent
    assert (extent.pairs, extent.videos, extent.pair_frames, extent.video_frames) == (9, 3, 108, 36)
    assert extent.assumed_pairs == 0


def test_hours_and_bytes_are_measured_and_multiplied(measured):
    assert (measured.probed_videos, measured.probed_frames) == (3, 15)
    assert 0 < measured.decode_hours < measured.model_hours
    assert measured.hours == pytest.approx((measured.decode_hours + measured.model_hours) / measured.models)
    assert measured.output_bytes is not None
    assert 108 * 20 < measured.output_bytes < 108 * 5000
    assert "machine like this (CPU, " in measured.text()
    assert measured.bottleneck.startswith("CPU time: ")


def test_a_slow_model_is_measured_on_fewer_frames(small, monkeypatch):
    monkeypatch.setattr("pipeline.segment.probe.MODEL_SECONDS", 0)
    result = plan.run(plan.PlanConfig(**small))
    assert (result.probed_videos, result.probed_frames) == (1, 5)  # decoded; the model saw one
    assert result.model_hours > 0
    assert result.output_bytes is not None


def test_a_cpu_does_not_predict_a_gpu(measured):
    assert measured.cost is None
    assert not any("does not predict" in note for note in measured.notes)
    cost = next(line for line in measured.text().splitlines() if line.startswith("cost "))
    assert cost.startswith("cost    unknown: the time was measured on this machine (")
    assert "with A10G, or add --frames-per-second N with the frames/s that 'rvos segment' prints there" in cost
    assert measured.to_json()["cost_needs"] in cost


def test_a_gpu_without_a_price(small):
    result = plan.run(plan.PlanConfig(**small, gpu="A10G", probe=1))
    assert (result.cost, result.cost_needs, "cost" in result.text()) == (None, None, False)
    assert any("does not predict A10G" in note for note in result.notes)


def test_the_price_of_this_machine(small):
    result = plan.run(plan.PlanConfig(**small, price=2.0, probe=1))
    assert result.cost == pytest.approx(2.0 * result.hours)
    assert result.cost_needs is None


def test_frames_that_windows_share_are_counted_twice(small):
    result = plan.run(plan.PlanConfig(**small, overlap=2, probe=1))
    assert result.probed_frames == 5  # one window, of which nothing more is decoded
    assert any("see a frame of a long video 1.67 times; the estimate includes that" in note for note in result.notes)


def test_a_stated_speed_needs_no_model(small, monkeypatch):
    monkeypatch.setattr(
        "pipeline.segment.model_options.ModelOptions.load", lambda self: pytest.fail("the model was loaded")
    )
    result = plan.run(plan.PlanConfig(**small, gpu="A10G", price=1.5, frames_per_second=0.03))
    assert result.model_hours == pytest.approx(108 / 0.03 / 3600)
    assert result.cost == pytest.approx(1.5)
    assert result.output_bytes is None
    assert "time    1.0 h on one A10G, 0.0 frames/s, cost 1.50" in result.text()
    assert "as stated" in result.notes[0]


def test_decoding_can_be_the_bottleneck(small):
    result = plan.run(plan.PlanConfig(**small, frames_per_second=1e6))
    assert result.hours == result.decode_hours > result.model_hours
    assert result.bottleneck.startswith("decoding: ")


def test_guessed_lengths_and_unreadable_videos_are_said(small, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).to_pylist()
    for row in rows:
        row["video_uri"] = storage.absolute(row["video_uri"], storage.parent(shapes[0]))
        del row["num_frames"]
    rows[-1] |= {"video_id": "gone", "video_uri": str(tmp_path / "gone.mp4")}
    manifest = tmp_path / "m.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest)
    config = plan.PlanConfig(**small | {"manifest": str(manifest)}, frames_per_second=10.0, probe=9)
    result = plan.run(config)
    assert result.extent.assumed_pairs == 9
    notes = "\n".join(result.notes)
    assert "no num_frames for 9 pairs, 12, the mean of the probed videos, are assumed" in notes
    assert result.extent.pair_frames == 9 * 12
    stated = plan.run(replace(config, assume_frames=40))
    assert stated.extent.pair_frames == 9 * 40
    assert "no num_frames for 9 pairs, 40 are assumed" in "\n".join(stated.notes)
    assert "1 probed video could not be read" in notes
    pq.write_table(pa.Table.from_pylist(rows[-1:]), manifest)
    with pytest.raises(InputError, match="none of the probed videos could be read; run 'rvos check'") as failed:
        plan.run(config)
    assert str(failed.value).count(rows[-1]["video_uri"]) == 1  # and no option of a run, which is not there yet
    assert "--retry-errors" not in str(failed.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"manifest": "none.parquet"}, "no manifest at"),
        ({"checkpoint": "none"}, "--checkpoint none"),
        ({"window": "x"}, "--window"),
    ],
)
def test_what_a_run_would_refuse_is_refused(small, options, text):
    with pytest.raises(InputError, match=text):
        plan.run(plan.PlanConfig(**small | options))


def test_the_command_line(small):
    words = [
        "plan",
        small["manifest"],
        "--checkpoint",
        small["checkpoint"],
        "--frames-per-second",
        "50",
        "--limit",
        "4",
    ]
    result = CliRunner().invoke(main, [*words, "--json"])
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["extent"]["pairs"], document["extent"]["pair_frames"]) == (4, 48)
    assert document["hours"] == pytest.approx(48 / 50 / 3600, rel=0.5)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    return write_sam2(tmp_path_factory.mktemp("sam2"))


def test_a_run_is_to_be_refined(labelled_run, sam2):
    result = plan.run(plan.PlanConfig(manifest=labelled_run.folder, checkpoint=sam2, device="cpu", probe=1))
    extent, units = result.extent, labelled_run.units()
    assert (extent.pairs, extent.units, extent.pair_frames, extent.video_frames) == (9, len(units), 108, 36)
    assert (result.probed_videos, result.probed_frames) == (1, 12)  # windows of 128 frames
    assert result.hours > 0
    assert 108 * 20 < result.output_bytes < 108 * 5000
    assert any("this is 'rvos refine'" in note for note in result.notes)


def test_a_run_with_another_name_is_missing(sam2, tmp_path):
    """Without a look at the path, a folder of SAM 2 would be refused: it takes no sentences."""
    with pytest.raises(InputError, match=f"no manifest and no run at {tmp_path}/nothing; correct the path"):
        plan.run(plan.PlanConfig(manifest=str(tmp_path / "nothing"), checkpoint=sam2, device="cpu"))


def test_a_model_that_follows_objects_takes_longer_later(labelled_run, sam2, monkeypatch):
    monkeypatch.setattr("pipeline.segment.probe.MODEL_SECONDS", 0)
    result = plan.run(plan.PlanConfig(manifest=labelled_run.folder, checkpoint=sam2, device="cpu"))
    (measured,) = (note for note in result.notes if "frames of" in note)
    assert measured.startswith("measured here on 12 frames of 1 video (1 of them by the model) and multiplied; ")
    assert "is faster in the first 16 frames of a video, so longer videos may take several times as long" in measured


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"checkpoint": None}, "--checkpoint is missing: .* is a run"),
        ({"limit": 3}, "'rvos refine' has no --limit; leave it out"),
        ({"short_side": 64}, "'rvos refine' has no --short-side"),
        ({"precision": "fp16"}, "--precision fp32 or bf16"),
        ({"window": "whole"}, "a number of frames as --window"),
        ({"window": "15"}, "--window must be at least 16"),
    ],
)
def test_what_refine_would_refuse_is_refused(labelled_run, sam2, options, text):
    with pytest.raises(InputError, match=text):
        plan.run(plan.PlanConfig(**{"manifest": labelled_run.folder, "checkpoint": sam2} | options))


def test_a_checkpoint_that_does_not_refine_is_named(labelled_run, checkpoint):
    with pytest.raises(InputError, match="'rvos refine' needs one of sam2_video, sam3_video"):
        plan.run(plan.PlanConfig(manifest=labelled_run.folder, checkpoint=checkpoint))


@pytest.mark.parametrize(("count", "text"), [(999, "999 bytes"), (49_200, "49.2 kB"), (3_210_000_000_000, "3.21 TB")])
def test_bytes_in_words(count, text):
    assert plan._bytes(count) == text


@pytest.mark.parametrize(("hours", "text"), [(1234.56, "1,234.6 h"), (0.5, "30.0 min"), (0.001, "3.6 s")])
def test_hours_in_words(hours, text):
    assert plan._hours(hours) == text


@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_a_gpu_that_is_not_there_cannot_be_measured():
    with pytest.raises(InputError, match="this machine has no GPU to measure with --device cuda; run the command on"):
        plan.run(PlanConfig(manifest="m.parquet", device="cuda"))


@pytest.mark.parametrize("name", ["price", "frames_per_second"])
def test_numbers_are_finite(name):
    """JSON has no infinity."""
    with pytest.raises(InputError, match=f"--{name.replace('_', '-')} must be a finite number, got inf"):
        PlanConfig(manifest="m.parquet", **{name: float("inf")})
