"""`rvos refine` on real videos: a run like any other, whose masks are those of the published loop."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file, save_file

from cli import main
from jobs import audit, refine, segment, select, status
from jobs.config.refine import RefineConfig
from model.bundled import FOLDER
from pipeline.io import storage
from pipeline.runs.plan import PlanOptions
from pipeline.runs.run import Run
from pipeline.video import Selection, read_frames
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import error_of, run_of_truth, unit_of, write
from tests.published_sam import published
from tests.segmented import keys, masks
from tests.tiny_sam import write_sam2, write_sam3

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def run(source, out, checkpoint, **options):
    folder = source.folder if isinstance(source, Run) else str(source)
    return refine.run(RefineConfig(run=folder, out=str(out), checkpoint=checkpoint, **options), lambda _: None)


@pytest.fixture(scope="module")
def sam2(tmp_path_factory):
    return write_sam2(tmp_path_factory.mktemp("sam2"), seed=1)


@pytest.fixture(scope="module")
def done(labelled_run, sam2, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("refined") / "run")
    return folder, run(labelled_run, folder, sam2)


@pytest.fixture(scope="module")
def folder_run(tmp_path_factory):
    """A run over one video of 20 pictures with two pairs, one of which has target frames; scores peak at frame 6."""
    root = tmp_path_factory.mktemp("folder")
    (root / "video").mkdir()
    random = np.random.default_rng(3)
    names, tables = [f"{i:05}" for i in range(20)], {}
    for i, name in enumerate(names):
        frame = random.integers(0, 255, (48, 64, 3), np.uint8)
        frame[10:30, 5 + i : 25 + i] = 200
        Image.fromarray(frame).save(root / "video" / f"{name}.png")
    row = {"video_id": "v", "video_uri": str(root / "video"), "expression": "a box", "num_frames": 20}
    rows = [
        row | {"expression_id": "0", "target_frames": None},
        row | {"expression_id": "1", "target_frames": [names[3], names[17]]},
    ]
    source = Run.start(str(root / "run"), "f", {}, {})
    source.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions())
    for number, kept in (("0", range(20)), ("1", (3, 17))):
        made = []
        for i in kept:
            mask = np.zeros((1, 48, 64), bool)
            mask[0, 10:30, 5 + i : 25 + i] = i not in (8, 9)
            (counts,) = rle.encode(np.asfortranarray(mask))
            size = {"height": 48, "width": 64, "frame_index": i, "frame_name": names[i], "score": 0.9 - abs(i - 6) / 50}
            pair = {"video_id": "v", "expression_id": number, "pair_score": 0.5, "status": "ok", "margin": i / 100}
            made.append(size | pair | {"counts": counts})
        tables[number] = pa.Table.from_pylist(made, schema=PREDICTIONS)
    write(source, source.units()[0].unit_id, list(tables.values()))
    return source


def test_every_pair_of_the_source_is_there_once(done, labelled_run):
    folder, result = done
    assert (result.pairs, result.failed, result.frames, result.exit_code) == (9, {}, 108, 0)
    table, source = masks(folder), masks(labelled_run.folder)
    assert table.schema.equals(PREDICTIONS)
    assert keys(table) == keys(source)
    assert (table["query"].null_count, table["window"].null_count) == (108, 108)
    assert not table["counts"].equals(source["counts"])
    assert Run.open(folder).manifest().equals(labelled_run.manifest())
    assert len(Run.open(folder).units()) == len(labelled_run.units())
    found = audit.run(audit.AuditConfig(run=folder))
    assert found.exit_code == 0
    assert status.run(status.StatusConfig(run=folder)).state == "audited"


@pytest.mark.parametrize("name", ["sam2", "sam3"])
@pytest.mark.parametrize("prompt", ["mask", "box"])
def test_the_masks_are_those_of_the_published_loop(folder_run, tmp_path, name, prompt):
    checkpoint = {"sam2": write_sam2, "sam3": write_sam3}[name](tmp_path / "model", seed=2)
    result = run(folder_run, tmp_path / "out", checkpoint, prompt=prompt)
    assert (result.pairs, result.frames, result.failed) == (2, 22, {})
    uri = folder_run.manifest()["video_uri"][0].as_py()
    frames = np.stack([frame.image for frame in read_frames(uri, Selection())])
    table = masks(tmp_path / "out")
    for pair, anchor in (("0", 6), ("1", 3)):
        rows = table.filter(pc.equal(table["expression_id"], pair)).to_pylist()
        mask = np.zeros((48, 64), bool)
        mask[10:30, 5 + anchor : 25 + anchor] = True
        wanted, presence = published(checkpoint, name, frames, anchor, mask, prompt)
        for row in rows:
            index = row["frame_index"]
            assert np.array_equal(rle.decode(row["counts"], 48, 64), wanted[index]), (pair, index)
            score = 0.9 - abs(anchor - 6) / 50
            assert row["score"] == pytest.approx(score if index == anchor else score * presence[index], abs=1e-5)
            assert row["margin"] == pytest.approx(anchor / 100)
        assert len(rows) == (20 if pair == "0" else 2)


def test_repeating_does_nothing_again_and_other_options_are_refused(done, labelled_run, sam2):
    folder, _ = done
    before = {path: path.stat().st_mtime_ns for path in Path(folder, "masks").iterdir()}
    result = run(labelled_run, folder, sam2)
    assert {path: path.stat().st_mtime_ns for path in Path(folder, "masks").iterdir()} == before
    assert (result.frames, result.there_before) == (0, 9)
    with pytest.raises(InputError, match="prompt: 'mask', now 'box'"):
        run(labelled_run, folder, sam2, prompt="box")


def test_the_masks_can_be_selected_against_those_of_the_source(done, labelled_run, tmp_path):
    folder, _ = done
    options = {"out": str(tmp_path / "selected"), "rule": ("other_run >= 0",)}
    found = select.run(select.SelectConfig(predictions=folder, against=labelled_run.folder, **options))
    assert found.exit_code == 0


def test_refined_masks_can_be_refined(done, sam2, tmp_path):
    folder, _ = done
    result = run(folder, tmp_path / "again", sam2)
    assert (result.pairs, result.failed) == (9, {})
    assert keys(masks(tmp_path / "again")) == keys(masks(folder))


def test_a_pair_that_failed_in_the_source_fails_and_is_retried_when_that_is_mended(
    run_with_failure, shapes, sam2, tmp_path
):
    out = tmp_path / "out"
    result = run(run_with_failure, out, sam2)
    assert (result.pairs, result.failed, result.exit_code) == (9, {"missing": 1}, 1)
    assert f"in {run_with_failure.folder}: gone" in result.errors[0]
    again = run(run_with_failure, out, sam2, retry_errors="all")
    assert again.failed == {"missing": 1}
    whole = run_of_truth(str(tmp_path / "whole"), *shapes)
    unit = unit_of(run_with_failure, "shapes-0000")
    shutil.copy(whole.masks_uri(unit), run_with_failure.masks_uri(unit))
    mended = run(run_with_failure, out, sam2, retry_errors="missing")
    assert (mended.failed, mended.frames) == ({}, 12)
    assert audit.run(audit.AuditConfig(run=str(out))).exit_code == 0


def test_empty_masks_stay_empty(folder_run, sam2, tmp_path):
    source = Run.start(str(tmp_path / "run"), "f", {}, {})
    source.extend_plan(folder_run.manifest(), "m", PlanOptions())
    table = masks(folder_run.folder)
    nothing = pa.array([rle.empty(48, 64)] * len(table), pa.binary())
    table = table.set_column(table.column_names.index("counts"), "counts", nothing)
    pairs = [table.filter(pc.equal(table["expression_id"], pair)) for pair in "01"]
    write(source, source.units()[0].unit_id, pairs)
    result = run(source, tmp_path / "out", sam2)
    assert (result.frames, result.failed) == (22, {})
    found = masks(tmp_path / "out")
    assert found["counts"].equals(table["counts"])
    assert set(found["score"].to_pylist()) == {0.0}


def test_a_video_that_has_changed_is_refused_pair_by_pair(folder_run, sam2, tmp_path):
    shutil.copytree(folder_run.manifest()["video_uri"][0].as_py(), tmp_path / "video")
    rows = [row | {"video_uri": str(tmp_path / "video")} for row in folder_run.manifest().to_pylist()]
    source = Run.start(str(tmp_path / "run"), "f", {}, {})
    source.extend_plan(pa.Table.from_pylist(rows), "m", PlanOptions())
    table = masks(folder_run.folder)
    write(source, source.units()[0].unit_id, [table.filter(pc.equal(table["expression_id"], pair)) for pair in "01"])
    Image.new("RGB", (64, 48)).save(tmp_path / "video" / "00020.png")
    longer = run(source, tmp_path / "longer", sam2)
    assert longer.failed == {"bad_row": 1}
    assert "frame 00020 has no mask in the source" in longer.errors[0]
    for name in ("00020", "00019", "00018"):
        (tmp_path / "video" / f"{name}.png").unlink()
    shorter = run(source, tmp_path / "shorter", sam2)
    assert shorter.failed == {"bad_row": 1}
    assert "18 frames were read, the source has masks of 20" in shorter.errors[0]


def test_nothing_is_written_by_a_dry_run(labelled_run, sam2, tmp_path):
    result = run(labelled_run, tmp_path / "out", sam2, dry_run=True)
    assert (result.exists, result.pairs, result.units, result.frames) == (False, 9, len(labelled_run.units()), 108)
    assert not (tmp_path / "out").exists()


def test_bad_input_ends_with_one_line(labelled_run, sam2, shapes, tmp_path):
    def error(*words):
        result = CliRunner().invoke(main, ["refine", *map(str, words)])
        assert result.exit_code == 2, result.output
        assert "Traceback" not in result.output
        return result.output

    out, runs = tmp_path / "out", tmp_path / "unfinished"
    model = ("--checkpoint", sam2)
    assert "is not a run" in error(tmp_path, out, *model)
    assert "is the run to refine" in error(labelled_run.folder, labelled_run.folder, *model)
    assert "Missing option '--checkpoint'" in error(labelled_run.folder, out)
    assert "takes sentences, not masks" in error(labelled_run.folder, out, "--checkpoint", FOLDER)
    assert "--window" in error(labelled_run.folder, out, *model, "--window", "15")
    shutil.copytree(labelled_run.folder, runs)
    next((runs / "masks").iterdir()).unlink()
    units = len(labelled_run.units())
    assert f"not finished: 1 of {units} units are missing" in error(runs, out, *model)
    config = segment.SegmentConfig(manifest=shapes[0], run=str(out), checkpoint=sam2)
    with pytest.raises(InputError, match="takes masks, not sentences"):
        segment.run(config)
    assert not out.exists()


def test_weights_that_do_not_fit_are_refused_by_name(labelled_run, sam2, tmp_path):
    shutil.copytree(sam2, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["of_nothing"] = weights.pop("no_memory_embedding")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"missing \(no_memory_embedding\).*unexpected \(of_nothing\)"):
        run(labelled_run, tmp_path / "out", str(tmp_path / "model"))


def test_the_plan_of_another_source_is_refused(done, labelled_run, sam2, tmp_path):
    folder, _ = done
    other = Run.start(str(tmp_path / "other"), "f", {}, {})
    other.extend_plan(labelled_run.manifest(), "m", PlanOptions(unit_frames=1))
    for unit in other.units():
        rows = other.rows(unit).to_pylist()
        write(other, unit.unit_id, [error_of(row["video_id"], row["expression_id"]) for row in rows])
    with pytest.raises(InputError, match="part 0 of their plans differs"):
        run(other, folder, sam2)


def test_what_decides_the_masks_is_recorded(done, labelled_run):
    document = json.loads(storage.read_bytes(f"{done[0]}/run.json"))
    assert document["decides"]["source"] == labelled_run.fingerprint
    assert document["decides"]["family"] == "sam2_video"
    assert document["decides"]["tracking"].startswith("transformers 5.")
    assert document["config"]["run"] == labelled_run.folder
