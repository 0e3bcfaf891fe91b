"""`rvos refine` on real videos: a run like any other, whose masks are those of the published loop."""

import json
import shutil
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from cli import main
from jobs import audit, refine, segment, select, status
from jobs.config.refine import RefineConfig
from model.bundled import FOLDER
from pipeline.io import parquet, storage
from pipeline.io.manifest import read_manifest
from pipeline.runs.moved import note_moved_videos
from pipeline.runs.plan import PlanOptions
from pipeline.runs.plan_reader import PlanReader
from pipeline.runs.run import Run
from schemas import rle
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from schemas.pair import PairKey
from tests.handmade import error_of, run_of_truth, unit_of, write
from tests.segmented import keys, masks
from tests.tiny_sam import write_sam2

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
    found = select.run(select.SelectConfig(run=folder, against=(labelled_run.folder,), **options))
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
    assert result.errors[0].count("video_id=") == 1
    again = run(run_with_failure, out, sam2, retry_errors="all")
    assert again.failed == {"missing": 1}
    whole = run_of_truth(str(tmp_path / "whole"), *shapes)
    unit = unit_of(run_with_failure, "shapes-0000")
    shutil.copy(whole.masks_uri(unit), run_with_failure.masks_uri(unit))
    mended = run(run_with_failure, out, sam2, retry_errors="missing")
    assert (mended.failed, mended.frames) == ({}, 12)
    assert audit.run(audit.AuditConfig(run=str(out))).exit_code == 0


def test_videos_that_moved_since_are_read_from_where_run_finds_them(shapes, sam2, tmp_path):
    """And from there in a run that refines the refined one. The error row names ways out that refine has."""
    old, new, first = tmp_path / "old", tmp_path / "new", str(tmp_path / "first")
    shutil.copytree(Path(shapes[0]).parent, old)
    name = Path(shapes[0]).name
    source = run_of_truth(first, str(old / name), shapes[1])
    once, twice = tmp_path / "once", tmp_path / "twice"
    old.rename(new)
    gone = run(source, once, sam2)
    assert gone.failed == {"missing": 9}
    assert "'rvos segment --rebase OLD=NEW'" in gone.errors[0]
    assert "correct video_uri" not in gone.errors[0]
    manifest = read_manifest(str(new / name))
    planned = source.planned_uris()
    note_moved_videos(first, planned, planned, manifest)  # as `rvos segment --rebase`
    assert (again := run(source, once, sam2, retry_errors="all")).failed == {}
    assert again.frames == 108
    assert Run.open(str(once)).manifest()["video_uri"].to_pylist() == manifest["video_uri"].to_pylist()
    assert run(once, twice, sam2).failed == {}


def test_pairs_with_too_thin_masks_are_counted_once(shapes, sam2, tmp_path):
    """Also in the summary of a command that did nothing, and after a retry of other pairs."""
    source = run_of_truth(str(tmp_path / "run"), *shapes, failed=(("shapes-0000", "1"),))
    for unit in source.units():
        rows = parquet.read_table(source.masks_uri(unit.unit_id)).to_pylist()
        for row in rows:
            if row["video_id"] == "shapes-0000" and row["status"] == "ok":
                mask = np.zeros((row["width"], row["height"]), bool)
                mask[5, 5] = True
                row["counts"] = rle.encode(mask.T[None])[0]
        tables = [pa.Table.from_pylist([*group], schema=PREDICTIONS) for _, group in groupby(rows, PairKey.of)]
        write(source, unit.unit_id, tables)
    thin = len({pair for pair in PairKey.of_all(masks(source.folder)) if pair.video_id == "shapes-0000"}) - 1
    assert thin == 2
    out = tmp_path / "out"
    first = run(source, out, sam2)
    line = "thin    2 pairs: the mask that prompts vanishes at the model's resolution (first: "
    for result in (first, run(source, out, sam2), run(source, out, sam2, retry_errors="all")):
        assert result.failed == {"missing": 1}
        assert (result.to_json()["thin"], result.to_json()["first_thin"]) == (thin, first.first_thin)
        assert first.first_thin.startswith("video_id=shapes-0000 expression_id=")
        assert f"{line}{first.first_thin})" in result.text()
    wide = run(run_of_truth(str(tmp_path / "wide"), *shapes), tmp_path / "other", sam2)
    assert wide.to_json()["thin"] == 0
    assert "first_thin" not in wide.to_json()
    assert "thin " not in wide.text()


def test_nothing_is_written_by_a_dry_run(labelled_run, sam2, tmp_path):
    result = run(labelled_run, tmp_path / "out", sam2, dry_run=True)
    assert result.text().endswith("All checks passed, and nothing was written. The videos were not opened.")
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
    assert "not a run" in error(tmp_path, out, *model)
    assert "RUN and OUT are the same folder" in error(labelled_run.folder, labelled_run.folder, *model)
    with pytest.raises(InputError, match="is the run to refine"):
        run(labelled_run, labelled_run.folder, sam2)
    inside = error(labelled_run.folder, f"{labelled_run.folder}/refined", *model)
    assert "RUN and OUT may not be inside each other" in inside
    assert "Missing option '--checkpoint'" in error(labelled_run.folder, out)
    assert "takes sentences, not masks" in error(labelled_run.folder, out, "--checkpoint", FOLDER)
    assert "--window" in error(labelled_run.folder, out, *model, "--window", "15")
    shutil.copytree(labelled_run.folder, runs)
    next((runs / "masks").iterdir()).unlink()
    units = len(labelled_run.units())
    assert f"not finished: it lacks 1 of {units} units" in error(runs, out, *model)
    config = segment.SegmentConfig(manifest=shapes[0], run=str(out), checkpoint=sam2)
    with pytest.raises(InputError, match="takes masks, not sentences"):
        segment.run(config)
    assert not out.exists()


def test_weights_that_do_not_fit_are_refused_by_name(labelled_run, sam2, tmp_path):
    shutil.copytree(sam2, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    weights["of_nothing"] = weights.pop("no_memory_embedding")
    save_file(weights, tmp_path / "model" / "model.safetensors", metadata={"format": "pt"})
    for options in ({"dry_run": True}, {}):
        with pytest.raises(InputError, match=r"1 tensor missing \(no_memory_embedding\).*unexpected \(of_nothing\)"):
            run(labelled_run, tmp_path / "out", str(tmp_path / "model"), **options)
        assert not (tmp_path / "out").exists()
    assert run(labelled_run, tmp_path / "out", sam2).failed == {}


def test_the_plan_of_another_source_is_refused(done, labelled_run, sam2, tmp_path):
    folder, _ = done
    other = Run.start(str(tmp_path / "other"), "f", {}, {})
    other.extend_plan(labelled_run.manifest(), "m", PlanOptions(unit_frames=1))
    for unit in other.units():
        rows = PlanReader(other).rows(unit).to_pylist()
        write(other, unit.unit_id, [error_of(row["video_id"], row["expression_id"]) for row in rows])
    with pytest.raises(InputError, match="part 0 of their plans differs"):
        run(other, folder, sam2)


def test_what_decides_the_masks_is_recorded(done, labelled_run):
    document = json.loads(storage.read_bytes(f"{done[0]}/run.json"))
    assert document["decides"]["source"] == labelled_run.fingerprint
    assert document["decides"]["family"] == "sam2_video"
    assert document["decides"]["tracking"].startswith("transformers 5.")
    assert document["config"]["run"] == labelled_run.folder


@pytest.mark.s3
def test_the_source_the_checkpoint_and_the_run_on_s3(done, labelled_run, sam2, s3, tmp_path):
    base = f"{s3}/{tmp_path.name}"
    for name, folder in (("first", labelled_run.folder), ("sam2", sam2)):
        for path in (path for path in Path(folder).rglob("*") if path.is_file()):
            storage.write_bytes(f"{base}/{name}/{path.relative_to(folder)}", path.read_bytes())
    foreign = run(f"{base}/first", f"{base}/foreign", f"{base}/sam2")
    assert foreign.failed == {"bad_row": 9}  # its plan names files of this machine
    result = run(f"{base}/first", f"{base}/refined", f"{base}/sam2", allow_local=True)
    assert (result.frames, result.failed) == (108, {})
    assert masks(f"{base}/refined").equals(masks(done[0]))
    assert audit.run(audit.AuditConfig(run=f"{base}/refined")).exit_code == 0
