"""`rvos segment` with SAM 3 on real videos: the folder as the hub gives it, masks as transformers publishes them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli import main
from jobs import audit, segment
from jobs.segment_result import SegmentResult
from pipeline.io.manifest import load_manifest
from pipeline.runs.run import Run
from pipeline.runs.run_json import read_run_json
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError
from tests.moving_shapes import MovingShapes
from tests.published_concepts import published, union
from tests.segmented import masks
from tests.tiny_sam import LIVELY, write_sam3

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
QUICK = LIVELY | {"hotstart_delay": 6, "hotstart_unmatch_thresh": 3, "hotstart_dup_thresh": 3, "max_num_objects": 4}
TEXTS = ("a dog", "red", "a b c d e f g")
TOO_LONG = "a thing of so many letters that they do not fit"


@pytest.fixture(scope="module")
def sam3(tmp_path_factory):
    return write_sam3(tmp_path_factory.mktemp("sam3"), 12, 8.0, **QUICK)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two videos of 20 frames with three phrases each, the last of them too long."""
    folder = tmp_path_factory.mktemp("shapes")
    path, _ = MovingShapes(videos=2, num_frames=20, height=96, width=128, seed=7).write(str(folder))
    table = load_manifest(path, allow_local=True)  # with absolute paths
    texts = [*TEXTS, *TEXTS[:2], TOO_LONG]
    path = str(tmp_path_factory.mktemp("phrases") / "manifest.parquet")
    table = table.set_column(table.column_names.index("expression"), "expression", pa.array(texts))
    pq.write_table(table, path)
    return path


def run(manifest, folder, checkpoint, **options) -> SegmentResult:
    # Torch adds up in another order with other numbers of threads, of which one actor has all.
    options = {"actors": "1"} | options
    config = segment.SegmentConfig(manifest=manifest, run=str(folder), checkpoint=checkpoint, **options)
    return segment.run(config, lambda _: None)


def rvos(*arguments):
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(scope="module")
def done(manifest, sam3, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("run") / "run")
    return folder, run(manifest, folder, sam3)


def test_every_pair_is_there_once_with_the_published_masks(done, manifest, sam3):
    folder, result = done
    assert (result.pairs, result.failed, result.frames, result.exit_code) == (6, {"bad_row": 1}, 100, 1)
    assert "has 39 tokens, at most 32 fit" in result.errors[0]
    table, row = masks(folder), pq.read_table(manifest).slice(0, 1).to_pylist()[0]
    assert table["window"].null_count == table["query"].null_count == len(table)
    threads = torch.get_num_threads()
    torch.set_num_threads(int(ray.cluster_resources()["CPU"]))
    frames = np.stack([frame.image for frame in read_frames(row["video_uri"], Selection())])
    wanted = union(published(sam3, frames, row["expression"])[0])
    torch.set_num_threads(threads)
    chosen = [r for r in table.to_pylist() if all(r[name] == row[name] for name in ("video_id", "expression_id"))]
    found = np.stack([rle.decode(each["counts"], each["height"], each["width"]) for each in chosen])
    assert np.array_equal(found.astype(bool), wanted)
    assert found.any()
    assert audit.run(audit.AuditConfig(run=folder)).exit_code == 0


def test_windows_and_units_do_not_change_the_run(done, manifest, sam3, tmp_path):
    folder, _ = done
    again = run(manifest, folder, sam3, window="17")
    assert (again.frames, again.there_before, again.failed) == (0, 6, {"bad_row": 1})
    run(manifest, tmp_path / "other", sam3, window="17", unit_frames=40)
    columns = ["video_id", "expression_id", "frame_index", "counts", "score", "box"]
    assert masks(tmp_path / "other").select(columns).equals(masks(folder).select(columns))
    with pytest.raises(InputError, match="answer: 'union', now 'best'"):
        run(manifest, folder, sam3, answer="best")


def test_a_retry_takes_the_corrected_video(manifest, sam3, tmp_path):
    table = pq.read_table(manifest).slice(0, 2)
    gone, there = str(tmp_path / "gone.mp4"), table["video_uri"][0].as_py()
    path, position = str(tmp_path / "manifest.parquet"), table.column_names.index("video_uri")
    pq.write_table(table.set_column(position, "video_uri", pa.array([gone] * 2)), path)
    assert run(path, tmp_path / "run", sam3).failed == {"missing": 2}
    shutil.copy(there, gone) if Path(there).is_file() else shutil.copytree(there, gone)
    result = run(path, tmp_path / "run", sam3, retry_errors="missing", window="16")
    assert (result.failed, result.frames) == ({}, 40)


def test_long_sentences_are_counted_once(done, manifest, sam3):
    folder, result = done
    assert result.text().count("note    SAM 3 finds things by short noun phrases") == 1
    assert "2 of 6 sentences have more than 6 words" in result.text()
    assert result.to_json()["note"] == result.note
    for command in (["segment", manifest, f"{folder}-new", "--dry-run"], ["check", manifest]):
        found = rvos(*command, "--checkpoint", sam3)
        assert found.output.count("2 of 6 sentences have more than 6 words") == 1, found.output


def test_what_the_run_says_of_itself(done):
    decides = read_run_json(done[0])["decides"]
    assert (decides["family"], decides["answer"]) == ("sam3_video", "union")
    assert decides["tracking"].startswith("transformers 5.")
    assert decides.keys().isdisjoint({"window", "overlap", "short_side", "max_size"})
    assert len(Run.open(done[0]).units()) >= 1


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--window", "whole"], "--window whole: a sam3_video model goes through a video of any length in windows"),
        (["--window", "15"], "--window 15: a sam3_video model answers a frame after seeing 15 more"),
        (["--short-side", "64"], "--short-side: a sam3_video model has one input size, 112 x 112 pixels"),
        (["--max-size", "640"], "--max-size: a sam3_video model has one input size"),
        (["--overlap", "4"], "--overlap: a sam3_video model carries its objects from window to window"),
        (["--compile"], "--compile: a sam3_video model cannot be compiled"),
        (["--no-target-below", "0.4"], "--no-target-below: a sam3_video model does not predict whether"),
        (["--precision", "fp16"], "--precision fp16: a sam3_video model keeps its memories in bf16"),
        (["--candidates", "all"], "shows its object queries: a sam3_video model has neither"),
        (
            ["--rules", "a2d"],
            "shows its object queries: a sam3_video model has neither",
        ),  # not of windows
    ],
)
def test_options_that_cannot_be_honoured_are_refused(manifest, sam3, tmp_path, options, reason):
    found = rvos("segment", manifest, str(tmp_path / "run"), "--checkpoint", sam3, *options)
    assert found.exit_code == 2
    assert reason in found.output
    assert not (tmp_path / "run").exists()


def test_other_families_have_no_answer_to_choose(manifest, tmp_path):
    found = rvos("segment", manifest, str(tmp_path / "run"), "--checkpoint", "tiny", "--answer", "best")
    assert found.exit_code == 2
    assert "--answer: a referformer model chooses one object itself" in found.output


def test_too_long_sentences_are_found_outside_a_run(manifest, sam3, tmp_path):
    found = rvos("check", manifest, "--checkpoint", sam3)
    assert found.exit_code == 1
    assert "has 39 tokens, at most 32 fit" in found.output
    strict = rvos("segment", manifest, str(tmp_path / "run"), "--checkpoint", sam3, "--strict")
    assert strict.exit_code == 2
    assert "has 39 tokens, at most 32 fit" in strict.output


def test_folders_that_are_not_whole_are_refused(manifest, sam3, tmp_path):
    folder = tmp_path / "sam3"
    shutil.copytree(sam3, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["detector_model.text_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 tensor missing \(detector_model.text_projection.weight\)"):
        run(manifest, tmp_path / "run", str(folder))
    (folder / "config.json").rename(tmp_path / "config.json")
    found = rvos("segment", manifest, str(tmp_path / "run"), "--checkpoint", str(folder))
    assert found.exit_code == 2
    assert "config.json: file not found" in found.output
    (tmp_path / "config.json").rename(folder / "config.json")
    (folder / "model.safetensors").rename(folder / "sam3.1_multiplex.pt")
    found = rvos("segment", manifest, str(tmp_path / "run"), "--checkpoint", str(folder))
    assert found.exit_code == 2
    assert "facebook/sam3.1 has no such weights" in found.output


def test_a_window_that_nobody_gave_is_not_to_be_left_out(manifest, sam3, tmp_path):
    """The default is too short for a model with a late start."""
    folder = tmp_path / "sam3"
    shutil.copytree(sam3, folder)
    config = json.loads((folder / "config.json").read_text()) | {"hotstart_delay": 40}
    (folder / "config.json").write_text(json.dumps(config))
    for window in (None, "30"):
        with pytest.raises(InputError, match=r"answers a frame after seeing 39 more; give more than 39$"):
            run(manifest, tmp_path / "run", str(folder), window=window)
    with pytest.raises(InputError, match=r"15 more; give more than 15, or leave it out$"):
        run(manifest, tmp_path / "run", sam3, window="9")


def test_a_plan_knows_the_family(manifest, sam3):
    found = rvos("plan", manifest, "--checkpoint", sam3, "--probe", "1", "--device", "cpu", "--json")
    assert found.exit_code == 0, found.output
    values = json.loads(found.stdout)
    assert values["model_hours"] > 0
    assert any("2 of 6 sentences" in note for note in values["notes"])


def test_no_conversion_is_needed(sam3, tmp_path):
    found = rvos("convert", sam3, "--tokenizer", sam3, "--out", str(tmp_path / "out"))
    assert found.exit_code == 2
    assert "needs no conversion" in found.output
