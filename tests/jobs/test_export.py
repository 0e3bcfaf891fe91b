"""`rvos export` on the command line: results, exit codes, errors."""

import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from cli import main
from jobs import evaluate, export, import_dataset
from jobs.config.export import FORMATS
from pipeline.io import parquet, storage
from pipeline.masks.by_video import MaskSource
from schemas.errors import InputError
from schemas.masks import PREDICTIONS
from tests.handmade import counted_from_one, error_of, run_of_truth, write


@pytest.fixture(scope="module")
def run(shapes, tmp_path_factory) -> str:
    return run_of_truth(str(tmp_path_factory.mktemp("export") / "run"), *shapes).folder


def typed(*words) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["export", *map(str, words)])
    assert "Traceback" not in result.output
    return result.exit_code, result.output


def test_a_submission_and_its_validation(run, shapes, tmp_path):
    out = tmp_path / "s.zip"
    code, text = typed("submission", run, "--for", "mevis", "--out", out)
    assert (code, "files       108" in text, "140 videos and 2236 expressions" in text) == (0, True, True)
    assert len(zipfile.ZipFile(out).namelist()) == 108
    assert typed("validate", out, "--for", "mevis", "--manifest", shapes[0])[0] == 0
    code, text = typed("validate", out, "--for", "ref-youtube-vos", "--json")
    assert (code, json.loads(text)["sound"], json.loads(text)["counts"]) == (1, False, {"root": 108})
    code, text = typed("validate", out, "--for", "ref-youtube-vos")
    assert "the server reads masks in 'Annotations/'" in text
    assert text.endswith("result      mistakes found\n")


def test_no_name_adds_a_line_to_a_result(run, shapes, tmp_path):
    rows = pq.read_table(shapes[0]).to_pylist()
    rows[0]["video_id"] = "v\nresult      no mistake found"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as made:
        made.writestr("a\nresult      no mistake found/0/00000.png", b"")
    code, text = typed("validate", tmp_path / "s.zip", "--for", "mevis", "--manifest", tmp_path / "m.parquet")
    assert code == 1
    assert [line for line in text.splitlines() if line.startswith("result")] == ["result      mistakes found"]


@pytest.mark.parametrize("form", ["coco-video", "review", "webdataset", "overlay"])
def test_the_other_forms(run, tmp_path, form):
    code, text = typed(form, run, "--out", tmp_path / "out", "--json")
    counts = json.loads(text)["counts"]
    assert (code, counts["videos"], counts["pairs"], counts["failed"]) == (0, 3, 9, 0)
    if form != "coco-video":
        assert json.loads((tmp_path / "out/_export.json").read_text())["counts"] == counts
    assert typed(form, run, "--out", tmp_path / "out")[0] == 0
    if form != "coco-video":
        assert typed(form, run, "--out", storage.parent(run))[0] == 2


@pytest.mark.parametrize(("form", "words"), [("submission", ["--for", "mevis"]), ("coco-video", [])])
def test_a_file_of_another_run_is_not_replaced(run, run_with_failure, tmp_path, form, words):
    out = tmp_path / "out.file"
    assert typed(form, run, *words, "--out", out)[0] == 0
    before = out.read_bytes()
    words = [*words, "--missing", "empty"] if form == "submission" else words
    code, text = typed(form, run_with_failure.folder, *words, "--out", out)
    assert (code, "out.file exists and has other content; remove it, or name a new file" in text) == (2, True)
    assert out.read_bytes() == before
    assert typed(form, run, *words, "--out", out)[0] == 0


def test_label_maps_score_as_their_masks_do(shapes, tmp_path):
    """One annotator, objects of the manifest: masks score as before unless objects hide each other."""
    manifest, annotations = counted_from_one(str(tmp_path), *shapes)
    made = run_of_truth(str(tmp_path / "run"), manifest, annotations)
    assert typed("davis", made.folder, "--out", tmp_path / "davis")[0] == 0
    scored = evaluate.run(
        evaluate.EvaluateConfig(
            predictions=str(tmp_path / "davis/anno_0"), annotations=annotations, out=str(tmp_path / "s")
        )
    )
    assert scored.to_json()["overall"]["J&F"] > 0.95


def test_failed_pairs_are_left_out_with_exit_code_1_or_refused(run_with_failure, tmp_path):
    assert typed("coco-video", run_with_failure.folder, "--out", tmp_path / "c.json")[0] == 1
    code, text = typed("submission", run_with_failure.folder, "--for", "mevis", "--out", tmp_path / "s.zip")
    assert (code, "video_id=shapes-0000 expression_id=1: gone" in text) == (2, True)
    code, text = typed(
        "submission", run_with_failure.folder, "--for", "mevis", "--out", tmp_path / "s.zip", "--missing", "empty"
    )
    assert (code, "12 frames without a mask, taken as empty" in text) == (0, True)


def test_a_refused_command_leaves_its_folder_to_the_corrected_one(run_with_failure, tmp_path):
    loose, out = storage.join(run_with_failure.folder, "masks"), tmp_path / "out"
    code, text = typed("overlay", loose, "--out", out)
    assert (code, "give its manifest with --manifest" in text, out.exists()) == (2, True, False)
    assert typed("davis", loose, "--out", out)[0] == 2
    assert typed("davis", loose, "--out", out, "--missing", "empty")[0] == 0


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_refused_export_leaves_nothing(shapes, tmp_path, form):
    """The masks of the last video are damaged: those of the others have been written."""
    made = run_of_truth(str(tmp_path / "run"), *counted_from_one(str(tmp_path), *shapes))
    for unit in made.units():
        rows = parquet.read_table(made.masks_uri(unit.unit_id)).to_pylist()
        if rows[0]["video_id"] == "shapes-0002":
            tables = [[row | {"counts": b"\xff"} for row in rows if row["expression_id"] == one] for one in "012"]
            write(made, unit.unit_id, [pa.Table.from_pylist(each, schema=PREDICTIONS) for each in tables if each])
    before = {path.name for path in tmp_path.iterdir()}
    words = ["--for", "mevis"] if form.name == "submission" else []
    code, text = typed(form.name, made.folder, *words, "--out", tmp_path / "new/folder/out")
    assert (code, "video_id=shapes-0002" in text) == (2, True), text
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.fixture
def run_with_failure(shapes, tmp_path):
    return run_of_truth(str(tmp_path / "run"), *shapes, failed=(("shapes-0000", "1"),))


def test_label_maps_of_nothing_are_refused(tmp_path):
    parquet.write_table(str(tmp_path / "failed.parquet"), error_of("v", "0"))
    parquet.write_table(str(tmp_path / "none.parquet"), PREDICTIONS.empty_table())
    for name, reason in (("failed", "video_id=v expression_id=0: gone"), ("none", "none.parquet holds no pairs")):
        code, text = typed("davis", tmp_path / f"{name}.parquet", "--out", tmp_path / f"{name}-out")
        assert (code, reason in text) == (2, True)


def test_frames_skipped_by_the_step_are_noted(shapes, tmp_path):
    made = run_of_truth(str(tmp_path / "run"), *shapes)
    document = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps(document | {"config": {"frame_step": 2}}))
    code, text = typed("submission", made.folder, "--for", "mevis", "--out", tmp_path / "s.zip")
    assert (code, "segmented 1 of 2 frames (--frame-step)" in text) == (0, True)
    rows = parquet.read_table(shapes[0])
    indices = pa.array([[*range(12)]] * rows.num_rows, pa.list_(pa.int32()))
    parquet.write_table(str(tmp_path / "m.parquet"), rows.append_column("frame_indices", indices))
    words = ("--for", "mevis", "--out", tmp_path / "s.zip", "--manifest", tmp_path / "m.parquet")
    code, text = typed("submission", made.folder, *words)
    assert (code, "--frame-step" in text) == (0, False)


def test_wrong_use(run, tmp_path):
    assert typed("validate", tmp_path / "none.zip", "--for", "mevis") == (2, f"Error: no zip at {tmp_path}/none.zip\n")
    code, text = typed("validate", tmp_path, "--for", "mevis")
    assert (code, "is an empty folder, not a zip file; " in text) == (2, True)
    code, text = typed("submission", run, "--for", "mevis", "--out", tmp_path)
    assert (code, "is an empty folder, not a zip file to write; name a new file" in text) == (2, True)
    (tmp_path / "file").touch()
    code, text = typed("review", run, "--out", tmp_path / "file")
    assert (code, "file is an empty file, not a folder to write to; name a new folder" in text) == (2, True)
    assert typed("coco-video", run, "--out", tmp_path / "file/x.json")[0] == 2
    assert "no predictions at" in typed("review", tmp_path / "none", "--out", tmp_path / "out")[1]
    assert "is inside" in typed("review", run, "--out", f"{run}/out")[1]
    assert typed("submission", run, "--for", "elsewhere", "--out", tmp_path / "s.zip")[0] == 2
    with pytest.raises(InputError, match="unknown --for 'x'; choose from ref-youtube-vos"):
        export.ValidateConfig(zip="z", server="x")


def test_an_exported_file_imports_again(run, shapes, tmp_path):
    """Export and import COCO for video: the same expressions, and the same RLE in every frame."""
    assert typed("coco-video", run, "--out", tmp_path / "coco/instances.json")[0] == 0
    imported = import_dataset.run(
        import_dataset.ImportConfig(dataset="coco-video", root=str(tmp_path / "coco"), out=str(tmp_path / "in"))
    )
    found = {
        (row["video_id"], row["object_id"], row["frame_name"]): row["counts"]
        for row in parquet.read_table(str(imported.annotations)).to_pylist()
    }
    texts, masks = {}, {}
    for row in parquet.read_table(imported.manifest).to_pylist():
        pair = row["video_id"], row["expression_id"]
        texts[pair] = row["expression"]
        (meant,) = row["object_ids"]
        masks |= {
            (*pair, name): counts
            for (video, object_id, name), counts in found.items()
            if (video, object_id) == (pair[0], meant)
        }
    manifest = parquet.read_table(shapes[0]).to_pylist()
    assert texts == {(row["video_id"], row["expression_id"]): row["expression"] for row in manifest}
    assert masks == {
        (pair.video_id, pair.expression_id, row["frame_name"]): row["counts"]
        for video in MaskSource.open(run).videos()
        for pair in video
        for row in pair.rows()
    }
    assert len(masks) == 108


@pytest.mark.parametrize("form", ["coco-video", "submission", "webdataset"])
def test_a_manifest_of_other_videos_is_refused(form, run, shapes, tmp_path):
    """An export without a mask would be one that others cannot tell from an empty result."""
    rows = parquet.read_table(shapes[0])
    other = rows.set_column(rows.column_names.index("video_id"), "video_id", pa.array(["other"] * rows.num_rows))
    other = other.set_column(other.column_names.index("video_uri"), "video_uri", pa.array(["a.mp4"] * rows.num_rows))
    other = other.slice(0, 1)
    parquet.write_table(str(tmp_path / "m.parquet"), other)
    words = ("--for", "mevis") if form == "submission" else ()
    code, text = typed(form, run, *words, "--manifest", tmp_path / "m.parquet", "--out", tmp_path / "out")
    message = "is in the masks; in the manifest: video_id=other expression_id=0; in "
    assert (code, message in text, (tmp_path / "out").exists()) == (2, True, False)
